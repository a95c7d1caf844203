"""Strategies for creating a complete file under a name that must be free, best first.

Each strategy calls fsync on the content before the file gets its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thoth_watch.infrastructure.publishing.leftovers import temporary_name

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_MODE = 0o666  # limited by the umask; other users read transcripts
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNSUPPORTED_ERRORS = {
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
    errno.EISDIR,  # O_TMPFILE, on file systems that do not support it
    errno.EPERM,  # hard links, on FAT and some CIFS
    errno.EXDEV,
    errno.EMLINK,
}

Content = bytes | Callable[[int], None]  # the bytes, or a function that writes them to a descriptor
CreateStrategy = Callable[[int, str, Content], None]  # folder's descriptor, name, content


def create_file(
    folder: int, name: str, content: Content, *, strategies: tuple[CreateStrategy, ...]
) -> None:
    """Create a file with the first strategy that the file system supports; content is durable before the name.

    Raises FileExistsError if the name is taken; nothing is changed then.
    """
    for strategy in strategies[:-1]:
        try:
            return strategy(folder, name, content)
        except OSError as error:
            if error.errno not in _UNSUPPORTED_ERRORS:
                raise
    return strategies[-1](folder, name, content)


def link_unnamed(folder: int, name: str, content: Content) -> None:
    """Create with O_TMPFILE, then linkat: a killed process leaves nothing behind."""
    file = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, _MODE, dir_fd=folder)
    try:
        _write_durably(file, content)
        try:
            os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=folder, follow_symlinks=True)
        except FileNotFoundError as error:  # no /proc
            raise OSError(errno.ENOSYS, "cannot link an unnamed file") from error
    finally:
        os.close(file)


def link_named(folder: int, name: str, content: Content) -> None:
    """Create under a temporary name, then hard-link it to the final name."""
    with temporary_file(folder, content) as temp:
        os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


def rename_named(folder: int, name: str, content: Content) -> None:
    """Create under a temporary name, then rename without replacing: for file systems without hard links."""
    with temporary_file(folder, content) as temp:
        renameat2(folder, temp, name, RENAME_NOREPLACE)


def write_in_place(folder: int, name: str, content: Content) -> None:
    """Write in place as the last resort (old NFS, some CIFS): a killed process can leave a partial file."""
    file = os.open(name, _CREATE_FLAGS, _MODE, dir_fd=folder)
    try:
        _write_durably(file, content)
    except BaseException:
        if is_same_file(folder, name, os.fstat(file)):
            os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(file)


CREATE_STRATEGIES: tuple[CreateStrategy, ...] = (
    link_unnamed,
    link_named,
    rename_named,
    write_in_place,
)


@contextmanager
def temporary_file(
    folder: int, content: Content, *, replaces_sha256: str | None = None
) -> Iterator[str]:
    """Create a durable file with that content under a random hidden name; delete it at the end if unchanged.

    replaces_sha256: hash of the file that it will be exchanged with.
    """
    # Without the content the name does not match, and the removal of leftovers skips the file.
    named_content = content if isinstance(content, bytes) else b""
    temp = temporary_name(named_content, replaces_sha256=replaces_sha256)
    file = os.open(temp, _CREATE_FLAGS, _MODE, dir_fd=folder)
    try:
        _write_durably(file, content)
        yield temp
    finally:
        if is_same_file(folder, temp, os.fstat(file)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temp, dir_fd=folder)
        os.close(file)


def is_same_file(folder: int, name: str, status: os.stat_result) -> bool:
    """Return True if a name refers to that file."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def renameat2(folder: int, old: str, new: str, flags: int, *, to: int | None = None) -> None:
    """Call Linux's renameat2, which Python lacks; `to`: descriptor of the target folder if it differs."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    target = folder if to is None else to
    if call(folder, os.fsencode(old), target, os.fsencode(new), ctypes.c_uint(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)


def sync_folder(folder: int) -> None:
    """Make the names in a folder durable; ignored where a network file system does not support it."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _write_durably(file: int, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
    os.fsync(file)
