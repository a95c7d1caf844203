"""Remove temporary files of killed processes, but never files of other programs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable

from thoth_watch.infrastructure.files import READ_FLAGS

MIN_AGE_S = 3_600.0  # a running process has deleted its temporary file long before
_MAX_BYTES = 64 * 2**20  # transcripts are smaller
_HASH_DIGITS = 16  # hex digits of a hash
_NAME_PATTERN = re.compile(
    rf"\.thoth-[0-9a-f]{{8}}-([0-9a-f]{{{_HASH_DIGITS}}})-([0-9a-f]{{{_HASH_DIGITS}}})\.tmp"
)


def temporary_name(content: bytes, *, replaces_sha256: str | None = None) -> str:
    """Return a random hidden name that contains the hashes of the contents it may have.

    These are the new content and, after an exchange, the own transcript that it replaces.
    """
    own = hashlib.sha256(content).hexdigest()
    replaced = replaces_sha256 or own
    return f".thoth-{secrets.token_hex(4)}-{own[:_HASH_DIGITS]}-{replaced[:_HASH_DIGITS]}.tmp"


class Leftovers:
    """Removes leftovers from a folder in which a file is published, at most once an hour per folder."""

    def __init__(self, *, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._last_swept_s: dict[tuple[int, int], float] = {}  # by device and inode of a folder

    def remove_from(self, folder: int) -> None:
        """Remove own temporary files older than an hour that are empty or have the content in their name.

        folder: its descriptor. Other files with such a name are kept. Ignores OSError, because
        nothing depends on the removal.
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
    """Return True if an old plain file has the content in its name or is empty (after a power cut)."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    # ctime, because an exchanged file keeps its old mtime
    if not stat.S_ISREG(status.st_mode) or status.st_ctime > before_s:
        return False
    if status.st_size > _MAX_BYTES:
        return False
    match = _NAME_PATTERN.fullmatch(name)
    with os.fdopen(os.open(name, READ_FLAGS, dir_fd=folder), "rb") as stream:
        content_sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return status.st_size == 0 or bool(match and content_sha256[:_HASH_DIGITS] in match.groups())
