"""Locks that allow one process at a time per ledger and per inbox, such as `run` or `once`."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from thoth_watch.domain.errors import RetryLater


class ProcessLock:
    """An exclusive lock on a file, held until the process ends, however it ends. Source: flock(2)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def __enter__(self) -> ProcessLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RetryLater(
                f"{self._path}: cannot create the lock ({os.strerror(error.errno or 0)});"
                " make the ledger's folder writable for this user"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip()
            os.close(handle)
            process = f"process {holder}" if holder else "another process"
            raise RetryLater(
                f"{self._path}: {process} is using this ledger; wait for it or stop it"
            ) from error
        with suppress(OSError):  # a full disk: the process id is only for another process's error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextmanager
def inbox_lock(inbox: Path) -> Iterator[None]:
    """Keep local processes with other ledgers away from an inbox while the context is open.

    The lock is an abstract socket name: no file is created in the inbox, its file system can be
    unmounted, and the kernel frees the name when the process ends. A missing folder is not locked.
    Raises RetryLater if another process holds the lock. Source: unix(7), abstract sockets.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as name:
        try:
            status = inbox.stat()
        except OSError:
            status = None
        if status is not None:
            try:
                name.bind(f"\0thoth-watch-inbox-{status.st_dev}-{status.st_ino}")
            except OSError as error:
                raise RetryLater(
                    f"{inbox}: another process is using this inbox; wait for it or stop it"
                ) from error
        yield
