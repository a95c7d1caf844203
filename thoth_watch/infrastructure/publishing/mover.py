"""Move a recording to another folder atomically; never overwrite a file and never move another one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path

from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import FileChanged, FileGone, NameTaken, RetryLater
from thoth_watch.infrastructure.files import READ_FLAGS, signature_of
from thoth_watch.infrastructure.publishing.publish_steps import (
    CREATE_STRATEGIES,
    RENAME_NOREPLACE,
    create_file,
    renameat2,
    sync_folder,
)
from thoth_watch.infrastructure.publishing.publisher import escape_path, open_folder, sha256_at

_BLOCK_BYTES = 2**20
_MUST_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # other disk, mount, NFS


class DurableMover:
    """A mover of finished recordings for local and network file systems.

    It renames without replacing where the system supports it: one atomic step. Otherwise it makes a
    durable copy of the bytes that were transcribed and then removes the original.
    """

    def move(self, file: AudioFile, to: Path, *, below: Path, sha256: str) -> Signature:
        """Move the version that was scanned; return its new signature. An interrupted move is completed.

        Raises FileGone or FileChanged if the recording is another version (nothing is done then),
        NameTaken if another file has the name, RetryLater for temporary problems.
        """
        try:
            with open_folder(file.path.parent, below=file.inbox, make=False) as old:
                return self._move_from(old, file, to, below=below, sha256=sha256)
        except RetryLater as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        return self._find_moved(None, file, to, below=below, sha256=sha256)  # its folder is gone

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
                    raise NameTaken(f"{escape_path(to)}: already exists; left alone") from error
                _remove_original(old, file)  # the copy of an interrupted move
            except FileNotFoundError as error:
                raise FileGone("the file is no longer there") from error
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM):
                    hint = "give this user write access to both folders, or set inbox.after: leave"
                    raise RetryLater(
                        f"moving to {escape_path(to.parent)}: permission denied; {hint}"
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
        """Return the signature of a recording that an earlier, killed move has already moved. Raises FileGone."""
        gone = FileGone("the file is no longer where it was found")
        try:
            with open_folder(to.parent, below=below, make=False) as new:
                moved = _stat(new, to.name)
                if moved is None or moved.st_size != file.signature.size_bytes:
                    raise gone
                if not _is_same(moved, file.signature) and sha256_at(new, to.name) != sha256:
                    raise gone
                sync_folder(new)
                if old is not None and _is_same(_stat(old, _removal_name(file)), file.signature):
                    os.unlink(_removal_name(file), dir_fd=old)
                    sync_folder(old)
                return _signature(new, to)
        except RetryLater as error:
            raise gone from error

    def _check_renamed(self, old: int, new: int, file: AudioFile, to: Path) -> None:
        """Undo the rename and raise FileChanged if another file had replaced the recording just before."""
        if _is_same(_stat(new, to.name), file.signature):
            return
        try:
            renameat2(new, to.name, file.path.name, RENAME_NOREPLACE, to=old)
        except FileExistsError:
            text = f"{escape_path(file.path)}: was replaced while it was moved; the other file is now {escape_path(to)}"
            raise FileChanged(text) from None
        raise FileChanged("the file was replaced while it was moved; the new one was not moved")


def _copy(old: int, file: AudioFile, new: int, to: Path, *, sha256: str) -> None:
    """Make a durable copy under the new name of exactly the bytes that were transcribed."""
    source = os.open(file.path.name, READ_FLAGS, dir_fd=old)

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
            raise FileChanged("the file changed while it was copied; it was not moved")
        os.fchmod(target, stat.S_IMODE(status.st_mode) & 0o777)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    try:
        create_file(new, to.name, fill, strategies=CREATE_STRATEGIES)
    except FileExistsError as error:
        if sha256_at(new, to.name) != sha256:
            raise NameTaken(f"{escape_path(to)}: already exists; left alone") from error
    finally:
        os.close(source)


def _remove_original(old: int, file: AudioFile) -> None:
    """Remove the original of a recording that was copied, but no file that replaced it meanwhile.

    It is first renamed to a name that no other program uses, and deleted if it is the right file.
    """
    name, aside = file.path.name, _removal_name(file)
    if _stat(old, aside) is not None:
        raise NameTaken(f"{aside}: blocks moving {escape_path(file.path)}; delete it")
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
        f"{escape_path(file.path)}: was replaced while it was moved; the new one was not moved"
    )


def _removal_name(file: AudioFile) -> str:
    """Return the name of a recording that is about to be deleted; the same after a restart."""
    return f".thoth-moved-{file.signature.inode:x}.tmp"


def _stat(folder: int, name: str) -> os.stat_result | None:
    """Return the status of a name, without following symlinks; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_same(found: os.stat_result | None, known: Signature) -> bool:
    """Return True if it is the same unchanged file; ctime is ignored, because a rename changes it."""
    return found is not None and (
        stat.S_ISREG(found.st_mode)
        and (found.st_dev, found.st_ino) == (known.device, known.inode)
        and (found.st_size, found.st_mtime_ns) == (known.size_bytes, known.modified_ns)
    )


def _signature(folder: int, path: Path) -> Signature:
    return signature_of(os.stat(path.name, dir_fd=folder, follow_symlinks=False))
