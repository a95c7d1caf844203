"""Single files of an inbox: reached through no link, and asked about without reading them."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from thoth_watch.application.ports import FileStatus
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import RetryLater

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_F_SETSIG = 10  # not in the fcntl module


class LocalFiles:
    """Answers about single recordings, without reading them."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Whether some process of this machine has the file open for writing, or wrote since the look.

        A read lease is refused while there is a writer. It is a hint: network file systems and
        files of other owners cannot tell, and then the answer is no. Source: fcntl(2), F_SETLEASE.
        """
        try:
            with _open_folder_of(file) as folder:
                handle = os.open(file.path.name, _FILE_FLAGS, dir_fd=folder)
        except OSError:
            return False
        try:
            # a writer that comes now breaks the lease by a signal; SIGURG is ignored by default
            fcntl.fcntl(handle, _F_SETSIG, signal.SIGURG)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return signature_of(os.fstat(handle)) != file.signature
        except OSError as error:
            return error.errno == errno.EAGAIN
        finally:
            os.close(handle)

    def file_status(self, file: AudioFile) -> FileStatus:
        """Whether the file is still the one that was seen. Raises TryLater where the inbox is away."""
        try:
            with _open_folder_of(file) as folder:
                info = os.stat(file.path.name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            if _is_inbox_unavailable(file):
                raise RetryLater(f"{file.inbox}: is the folder there and mounted?") from error
            return FileStatus.GONE
        except OSError as error:
            if error.errno == errno.ELOOP:
                return FileStatus.GONE  # a link took a folder's place
            return FileStatus.SAME  # cannot be told; the decoder has read the version that was seen
        same = signature_of(info) == file.signature
        return FileStatus.SAME if same else FileStatus.CHANGED


@contextmanager
def open_subfolder(root: int, names: Iterable[str]) -> Iterator[int]:
    """The descriptor of a folder, reached through no link below the root; it closes the root's."""
    here = root
    try:
        for name in names:
            inner = os.open(name, FOLDER_FLAGS, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def open_inbox(path: Path) -> int:
    """Its descriptor. It may be a link that its owner made; what lies in it may not."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _open_folder_of(file: AudioFile) -> AbstractContextManager[int]:
    return open_subfolder(open_inbox(file.inbox), file.relative.parent.parts)


def _is_inbox_unavailable(file: AudioFile) -> bool:
    """Whether something else lies at the inbox's path than the file system that the file was on."""
    try:
        return file.inbox.stat().st_dev != file.signature.device
    except OSError:
        return True


def signature_of(info: os.stat_result) -> Signature:
    """What tells this version of a file from another."""
    return Signature(
        size_bytes=info.st_size,
        modified_ns=info.st_mtime_ns,
        changed_ns=info.st_ctime_ns,
        device=info.st_dev,
        inode=info.st_ino,
    )
