"""Open exactly the file that was listed: below its inbox, not through a symlink, never a device."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from pathlib import Path

from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import FileChanged, FileGone, FileUnreadable, NotAudio, RetryLater

_SYS_OPENAT2 = 437  # the same on every architecture that Python runs on
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # neither a FIFO nor a device is opened
_RESOURCE_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_NO_OPENAT2 = {errno.ENOSYS, errno.EPERM, errno.E2BIG}  # old kernel, or a seccomp filter

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def signature_of(status: os.stat_result) -> Signature:
    """Return the signature of a file from the result of `fstat`."""
    return Signature(
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
    )


def audio_file(path: Path) -> AudioFile:
    """Return the recording that was given on the command line; a symlink is resolved to its target.

    Raises FileGone, FileUnreadable or NotAudio (a folder, a device).
    """
    try:
        resolved = path.resolve(strict=True)
        status = resolved.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileGone("no such file") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symlinks
        raise FileUnreadable(f"the path cannot be resolved: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise NotAudio("not a plain file")
    return AudioFile(inbox=resolved.parent, path=resolved, signature=signature_of(status))


def open_recording(file: AudioFile) -> int:
    """Return a descriptor for reading exactly the version of the file that was listed.

    Raises FileChanged, FileGone, FileUnreadable, or RetryLater when the inbox is unavailable.
    """
    try:
        root = os.open(file.inbox, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RetryLater(
            f"the inbox cannot be opened ({error.strerror}): check that it exists and is mounted"
        ) from error
    try:
        relative = os.fsencode(file.relative)
        handle = _open_below(root, relative, _PATH_FLAGS)
        try:
            check_unchanged(handle, file)
        finally:
            os.close(handle)
        descriptor = _open_below(root, relative, _READ_FLAGS)
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


def _open_below(root: int, relative: bytes, flags: int) -> int:
    """Open a path below an open directory with openat2, or folder by folder on kernels without it."""
    how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    descriptor = _libc.syscall(
        _SYS_OPENAT2, root, ctypes.c_char_p(relative), ctypes.byref(how), ctypes.sizeof(how)
    )
    if descriptor >= 0:
        return int(descriptor)
    code = ctypes.get_errno()
    if code in _NO_OPENAT2:
        return _walk_below(root, relative, flags)
    raise OSError(code, os.strerror(code))


def _walk_below(root: int, relative: bytes, flags: int) -> int:
    """Open a path below an open directory folder by folder, without following symlinks."""
    *folders, name = relative.split(b"/")
    if b".." in (*folders, name):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    parent = os.dup(root)
    try:
        for folder in folders:
            if stat.S_ISLNK(os.stat(folder, dir_fd=parent, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            inner = os.open(folder, _PATH_FLAGS | os.O_DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = inner
        return os.open(name, flags, dir_fd=parent)
    finally:
        os.close(parent)


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
