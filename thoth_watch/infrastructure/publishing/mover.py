"""Moves a recording to another folder, whole or not at all, never over anything, never another file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path

from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import FileChanged, FileGone, NameTaken, RetryLater
from thoth_watch.infrastructure.publishing.publish_steps import (
    CREATE_STRATEGIES,
    RENAME_NOREPLACE,
    create_file,
    renameat2,
    sync_folder,
)
from thoth_watch.infrastructure.publishing.publisher import escape_path, open_folder, sha256_at

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK_BYTES = 2**20
_MUST_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # disks, mounts, NFS


class DurableMover:
    """Fits the port of that name on local and network file systems.

    A rename that replaces nothing where the system can do it: one step, no instant with two names or
    none. Else a durable copy of the bytes that were transcribed, then the old name is taken away.
    """

    def move(self, file: AudioFile, to: Path, *, below: Path, sha256: str) -> Signature:
        """Move the very version that was seen; what tells it there. A move cut short is completed.

        Raises FileGone or FileChanged where the recording is not the one that was seen (nothing is
        done), NameTaken where something else has the name, TryLater for what is in the way.
        """
        try:
            with open_folder(file.path.parent, below=file.inbox, make=False) as old:
                return self._move_from(old, file, to, below=below, sha256=sha256)
        except RetryLater as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        return self._find_moved(None, file, to, below=below, sha256=sha256)  # its folder went, too

    def _move_from(
        self, old: int, file: AudioFile, to: Path, *, below: Path, sha256: str
    ) -> Signature:
        if not _is_same(_stat(old, file.path.name), file.signature):
            return self._find_moved(old, file, to, below=below, sha256=sha256)
        with open_folder(to.parent, below=below, make=True) as new:
            try:
                renameat2(old, file.path.name, to.name, RENAME_NOREPLACE, to=new)
                self._check_renamed(old, new, file, to)
            except FileExistsError as error:
                if sha256_at(new, to.name) != sha256:
                    raise NameTaken(f"{escape_path(to)}: is there already; left alone") from error
                _remove_original(old, file)  # a copy of a move that was cut short
            except FileNotFoundError as error:
                raise FileGone("the file is no longer there") from error
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM):
                    way_out = "give this user the right to write in both folders, or set inbox.after: leave"
                    raise RetryLater(
                        f"may not go to {escape_path(to.parent)}; {way_out}"
                    ) from error
                if error.errno not in _MUST_COPY:
                    raise
                _copy(old, file, new, to, sha256=sha256)
                sync_folder(new)
                _remove_original(old, file)
            sync_folder(new)
            sync_folder(old)
            return _signature(new, to)

    def _find_moved(
        self, old: int | None, file: AudioFile, to: Path, *, below: Path, sha256: str
    ) -> Signature:
        """What tells the recording there, if an earlier move that was killed had brought it."""
        gone = FileGone("the file is no longer where it was seen")
        try:
            with open_folder(to.parent, below=below, make=False) as new:
                there = _stat(new, to.name)
                if there is None or there.st_size != file.signature.size_bytes:
                    raise gone
                if not _is_same(there, file.signature) and sha256_at(new, to.name) != sha256:
                    raise gone
                sync_folder(new)
                if old is not None and _is_same(_stat(old, _removal_name(file)), file.signature):
                    os.unlink(_removal_name(file), dir_fd=old)
                    sync_folder(old)
                return _signature(new, to)
        except RetryLater as error:
            raise gone from error

    def _check_renamed(self, old: int, new: int, file: AudioFile, to: Path) -> None:
        """Somebody may have put another file there at the last moment: it gets its name back."""
        if _is_same(_stat(new, to.name), file.signature):
            return
        try:
            renameat2(new, to.name, file.path.name, RENAME_NOREPLACE, to=old)
        except FileExistsError:
            text = f"{escape_path(file.path)}: was replaced while it was moved; what was there is {escape_path(to)}"
            raise FileChanged(text) from None
        raise FileChanged("the file was replaced while it was moved; it stays")


def _copy(old: int, file: AudioFile, new: int, to: Path, *, sha256: str) -> None:
    """A durable copy under the new name, of exactly the bytes that were transcribed."""
    source = os.open(file.path.name, _READ_FLAGS, dir_fd=old)

    def fill(target: int) -> None:
        os.lseek(source, 0, os.SEEK_SET)
        digest = hashlib.sha256()
        while block := os.read(source, _BLOCK_BYTES):
            digest.update(block)
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(target, rest) :]
        status = os.fstat(source)
        if digest.hexdigest() != sha256 or not _is_same(status, file.signature):
            raise FileChanged("the file changed while it was copied; it stays")
        os.fchmod(target, stat.S_IMODE(status.st_mode) & 0o777)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    try:
        create_file(new, to.name, fill, strategies=CREATE_STRATEGIES)
    except FileExistsError as error:
        if sha256_at(new, to.name) != sha256:
            raise NameTaken(f"{escape_path(to)}: is there already; left alone") from error
    finally:
        os.close(source)


def _remove_original(old: int, file: AudioFile) -> None:
    """Remove the old name of a recording that lies elsewhere, and no other file that took it just now.

    It steps aside under a name that nobody else uses, and is removed there if it is the right one.
    """
    name, aside = file.path.name, _removal_name(file)
    if _stat(old, aside) is not None:
        raise NameTaken(f"{aside}: is in the way of moving {escape_path(file.path)}; take it away")
    os.rename(name, aside, src_dir_fd=old, dst_dir_fd=old)
    if _is_same(_stat(old, aside), file.signature):
        os.unlink(aside, dir_fd=old)
        return
    try:
        os.link(aside, name, src_dir_fd=old, dst_dir_fd=old, follow_symlinks=False)
        os.unlink(aside, dir_fd=old)
    except OSError:
        with contextlib.suppress(OSError):
            renameat2(old, aside, name, RENAME_NOREPLACE)
    raise FileChanged(
        f"{escape_path(file.path)}: was replaced while it was moved; the new one stays"
    )


def _removal_name(file: AudioFile) -> str:
    """The name under which a recording waits to be removed; the same after a kill."""
    return f".thoth-moved-{file.signature.inode:x}.tmp"


def _stat(folder: int, name: str) -> os.stat_result | None:
    """What a name is, without following a link; None for nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_same(found: os.stat_result | None, seen: Signature) -> bool:
    """Whether it is that very file, untouched; a rename changes no more than the time of change."""
    return found is not None and (
        stat.S_ISREG(found.st_mode)
        and (found.st_dev, found.st_ino) == (seen.device, seen.inode)
        and (found.st_size, found.st_mtime_ns) == (seen.size_bytes, seen.modified_ns)
    )


def _signature(folder: int, path: Path) -> Signature:
    status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    return Signature(
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
    )
