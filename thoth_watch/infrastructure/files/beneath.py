"""Open files and folders below a root that is already open, without following a symlink below it."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import PurePath

READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # opens neither a FIFO nor a device
ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # may be a symlink: its owner named it
FOLDER_FLAGS = ROOT_FLAGS | os.O_NOFOLLOW

_SYS_OPENAT2 = 437  # the same on every architecture that Python runs on
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_WALK_INSTEAD = {
    *(errno.ENOSYS, errno.EPERM, errno.E2BIG),  # old kernel, or a seccomp filter
    errno.ENAMETOOLONG,  # the whole path is; each of its names may still be short enough
}

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_below(root: int, relative: str | PurePath, flags: int) -> int:
    """Open a path below an open folder and return its descriptor; the root stays open.

    The path cannot leave the root, whatever is renamed meanwhile. Raises OSError: ELOOP for a
    symlink in the place of a folder, EXDEV for `..` and for an absolute path. A symlink as the last
    name is opened as itself with PATH_FLAGS and is ELOOP with READ_FLAGS.
    """
    path = PurePath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    try:
        return openat2(root, os.fsencode(path), flags)
    except OSError as error:
        if error.errno not in _WALK_INSTEAD:
            raise
    return _walk_below(root, path, flags)


def open_folder_below(root: int, relative: str | PurePath) -> int:
    """Open a folder below an open folder to list it and to create files in it.

    Raises NotADirectoryError for a symlink as for anything else that is no folder.
    """
    try:
        return open_below(root, relative, FOLDER_FLAGS)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def openat2(root: int, path: bytes, flags: int) -> int:
    """Open a path by the one system call that refuses symlinks in the kernel. Raises OSError."""
    how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    while True:
        descriptor = _libc.syscall(
            _SYS_OPENAT2, root, ctypes.c_char_p(path), ctypes.byref(how), ctypes.sizeof(how)
        )
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        if code != errno.EINTR:  # like os.open, which also tries again after a signal
            raise OSError(code, os.strerror(code))


def _walk_below(root: int, path: PurePath, flags: int) -> int:
    """Open a path folder by folder: each is opened as what it is, then tested, then entered."""
    parent = os.dup(root)
    try:
        for name in path.parent.parts:
            inner = os.open(name, PATH_FLAGS, dir_fd=parent)
            os.close(parent)
            parent = inner
            mode = os.fstat(inner).st_mode
            if not stat.S_ISDIR(mode):
                code = errno.ELOOP if stat.S_ISLNK(mode) else errno.ENOTDIR
                raise OSError(code, os.strerror(code))
        return os.open(path.name or ".", flags, dir_fd=parent)
    finally:
        os.close(parent)
