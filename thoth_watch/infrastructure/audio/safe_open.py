"""Open exactly the file that was listed: below its inbox, not through a symlink, never a device."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import FileChanged, FileGone, FileUnreadable, RetryLater
from thoth_watch.infrastructure.files import (
    PATH_FLAGS,
    READ_FLAGS,
    ROOT_FLAGS,
    open_below,
    signature_of,
)

_RESOURCE_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def open_recording(file: AudioFile) -> int:
    """Return a descriptor for reading exactly the version of the file that was listed.

    Raises FileChanged, FileGone, FileUnreadable, or RetryLater when the inbox is unavailable.
    """
    try:
        root = os.open(file.inbox, os.O_PATH | ROOT_FLAGS)
    except OSError as error:
        raise RetryLater(
            f"the inbox cannot be opened ({error.strerror}): check that it exists and is mounted"
        ) from error
    try:
        handle = open_below(root, file.relative, PATH_FLAGS)
        try:
            check_unchanged(handle, file)
        finally:
            os.close(handle)
        descriptor = open_below(root, file.relative, READ_FLAGS)
    except OSError as error:
        if error.errno == errno.ENOENT and os.fstat(root).st_dev != file.signature.device:
            raise RetryLater(
                "another file system is mounted at the inbox; mount the original one again"
            ) from error
        raise _translate_error(error) from error
    finally:
        os.close(root)
    try:
        check_unchanged(descriptor, file)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sha256_of(file: AudioFile) -> str:
    """Return the hash of the version that was listed. Raises the same errors as `open_recording`."""
    with os.fdopen(open_recording(file), "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        check_unchanged(stream.fileno(), file)
    return digest


def check_unchanged(descriptor: int, file: AudioFile) -> None:
    """Raise FileChanged unless the open file is still the version that was listed."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise FileChanged("no longer a plain file: another entry has taken its name")
    if signature_of(status) != file.signature:
        raise FileChanged(
            "the file changed while it was read; it is read again when it stops changing"
        )


def _translate_error(error: OSError) -> Exception:
    """Return the port's error for an error of the operating system."""
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return FileGone("the file is no longer there")
    if error.errno in {errno.ELOOP, errno.EXDEV, errno.ENXIO}:
        return FileChanged("no longer a plain file: a symlink or special file has taken its name")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return FileUnreadable(
            "permission denied: give the service's user read access to the file and its folders"
        )
    if error.errno == errno.EWOULDBLOCK:
        return FileChanged(
            "another program has locked the file (lease); it is read when the lock is released"
        )
    if error.errno in _RESOURCE_ERRORS:
        return RetryLater(f"out of system resources: {reason}")
    return FileUnreadable(f"the file cannot be opened: {reason}")
