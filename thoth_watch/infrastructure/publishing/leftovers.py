"""Temporary files that a killed process left in a folder: told from anybody else's, and removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable

MIN_AGE_S = 3_600.0  # a process that lives is done with its temporary file long before
_MAX_BYTES = 64 * 2**20  # a transcript is not larger; somebody else's file may be
_HASH_DIGITS = 16  # hex digits of a hash
_NAME_PATTERN = re.compile(
    rf"\.thoth-[0-9a-f]{{8}}-([0-9a-f]{{{_HASH_DIGITS}}})-([0-9a-f]{{{_HASH_DIGITS}}})\.tmp"
)
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def temporary_name(content: bytes, *, replaces_sha256: str | None = None) -> str:
    """A hidden name that is nobody's, and that says what may be found under it.

    That is the content, or after an exchange the transcript of ours that it replaces.
    """
    own = hashlib.sha256(content).hexdigest()
    other = replaces_sha256 or own
    return f".thoth-{secrets.token_hex(4)}-{own[:_HASH_DIGITS]}-{other[:_HASH_DIGITS]}.tmp"


class Leftovers:
    """Looks into each folder once an hour at most, when something is published there anyway."""

    def __init__(self, *, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._last_swept_s: dict[tuple[int, int], float] = {}  # device and inode of a folder: when

    def remove_from(self, folder: int) -> None:
        """Remove what has a name of ours, is older than an hour, and holds what its name says or nothing.

        folder: its descriptor. Whatever else has such a name is somebody's, and stays. Never raises
        for what it finds: nothing depends on it.
        """
        with contextlib.suppress(OSError):
            status = os.fstat(folder)
            now_s, key = self._now_s(), (status.st_dev, status.st_ino)
            if now_s - self._last_swept_s.get(key, 0.0) < MIN_AGE_S:
                return
            self._last_swept_s[key] = now_s
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if _NAME_PATTERN.fullmatch(entry.name)]
            for name in names:
                with contextlib.suppress(OSError):
                    if _is_ours(folder, name, before_s=now_s - MIN_AGE_S):
                        os.unlink(name, dir_fd=folder)


def _is_ours(folder: int, name: str, *, before_s: float) -> bool:
    """Whether a plain file of that age is what its name says, or empty (the power went)."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    # ctime: an exchanged file keeps the mtime of long ago
    if not stat.S_ISREG(status.st_mode) or status.st_ctime > before_s:
        return False
    if status.st_size > _MAX_BYTES:
        return False
    said = _NAME_PATTERN.fullmatch(name)
    with os.fdopen(os.open(name, _FILE_FLAGS, dir_fd=folder), "rb") as stream:
        content_sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return status.st_size == 0 or bool(said and content_sha256[:_HASH_DIGITS] in said.groups())
