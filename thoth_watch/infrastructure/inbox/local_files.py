"""Check single files of an inbox without reading them and without following symlinks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from thoth_watch.application.ports.inbox import FileStatus
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import RetryLater
from thoth_watch.infrastructure.files import (
    PATH_FLAGS,
    READ_FLAGS,
    ROOT_FLAGS,
    open_below,
    signature_of,
)

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # ELOOP: a symlink took a folder's place
_F_SETSIG = 10  # not in the fcntl module


class LocalFiles:
    """Reports whether a recording is being written and whether it is unchanged."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Return True if a local process has the file open for writing, or wrote to it since the scan.

        The kernel refuses a read lease while there is a writer. This is a hint: on network file
        systems and for files of other owners the result is False. Source: fcntl(2), F_SETLEASE.
        """
        try:
            handle = _open(file, READ_FLAGS)
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
            handle = _open(file, PATH_FLAGS)
        except OSError as error:
            if error.errno not in _GONE:
                return FileStatus.SAME  # unknown; the decoder has read the version that was scanned
            if _is_inbox_unavailable(file):
                raise RetryLater(
                    f"{file.inbox}: check that the folder exists and is mounted"
                ) from error
            return FileStatus.GONE
        try:
            is_same = signature_of(os.fstat(handle)) == file.signature
        finally:
            os.close(handle)
        return FileStatus.SAME if is_same else FileStatus.CHANGED


def _open(file: AudioFile, flags: int) -> int:
    root = os.open(file.inbox, ROOT_FLAGS)
    try:
        return open_below(root, file.relative, flags)
    finally:
        os.close(root)


def _is_inbox_unavailable(file: AudioFile) -> bool:
    """Return True if the inbox's path is missing or on another file system than the file was."""
    try:
        return file.inbox.stat().st_dev != file.signature.device
    except OSError:
        return True
