"""Check single files of an inbox without reading them and without following symlinks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from thoth_watch.application.ports.inbox import FileStatus
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import RetryLater

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_F_SETSIG = 10  # not in the fcntl module


class LocalFiles:
    """Reports whether a recording is being written and whether it is unchanged."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Return True if a local process has the file open for writing, or wrote to it since the scan.

        The kernel refuses a read lease while there is a writer. This is a hint: on network file
        systems and for files of other owners the result is False. Source: fcntl(2), F_SETLEASE.
        """
        try:
            with _open_folder_of(file) as folder:
                handle = os.open(file.path.name, _FILE_FLAGS, dir_fd=folder)
        except OSError:
            return False
        try:
            # A writer that opens the file now breaks the lease with a signal; SIGURG is ignored by default.
            fcntl.fcntl(handle, _F_SETSIG, signal.SIGURG)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return signature_of(os.fstat(handle)) != file.signature
        except OSError as error:
            return error.errno == errno.EAGAIN
        finally:
            os.close(handle)

    def file_status(self, file: AudioFile) -> FileStatus:
        """Compare the file with the version that was scanned. Raises RetryLater if the inbox is unavailable."""
        try:
            with _open_folder_of(file) as folder:
                info = os.stat(file.path.name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            if _is_inbox_unavailable(file):
                raise RetryLater(
                    f"{file.inbox}: check that the folder exists and is mounted"
                ) from error
            return FileStatus.GONE
        except OSError as error:
            if error.errno == errno.ELOOP:
                return FileStatus.GONE  # a symlink replaced a folder
            return FileStatus.SAME  # unknown; the decoder has read the version that was scanned
        is_same = signature_of(info) == file.signature
        return FileStatus.SAME if is_same else FileStatus.CHANGED


@contextmanager
def open_subfolder(root: int, names: Iterable[str]) -> Iterator[int]:
    """Open a folder below `root` without following symlinks; takes ownership of `root` and closes it."""
    folder = root
    try:
        for name in names:
            inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_inbox(path: Path) -> int:
    """Return a descriptor of the inbox, which may itself be a symlink; entries in it may not."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _open_folder_of(file: AudioFile) -> AbstractContextManager[int]:
    return open_subfolder(open_inbox(file.inbox), file.relative.parent.parts)


def _is_inbox_unavailable(file: AudioFile) -> bool:
    """Return True if the inbox's path is missing or on another file system than the file was."""
    try:
        return file.inbox.stat().st_dev != file.signature.device
    except OSError:
        return True


def signature_of(info: os.stat_result) -> Signature:
    """Return the signature that identifies this version of a file."""
    return Signature(
        size_bytes=info.st_size,
        modified_ns=info.st_mtime_ns,
        changed_ns=info.st_ctime_ns,
        device=info.st_dev,
        inode=info.st_ino,
    )
