"""Puts transcripts on disk durably, whole or not at all, never over what is not ours."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from thoth_watch.application.ports import Output
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.infrastructure.publishing.leftovers import Leftovers
from thoth_watch.infrastructure.publishing.publish_steps import (
    CREATE_STRATEGIES,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    CreateStrategy,
    create_file,
    renameat2,
    sync_folder,
    temporary_file,
)

MAX_THREADS = 8  # files that are made durable at a time: 1.1 ms each where one alone takes 7
_MAX_ATTEMPTS = 20  # against somebody who makes and removes the name all the time
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHER_FOLDER_HINT = "or set transcript.output_dir to another folder"
_ERROR_HINTS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: f"the quota is used up; free some space, {_OTHER_FOLDER_HINT}",
    errno.EROFS: f"the file system is read-only; remount it for writing, {_OTHER_FOLDER_HINT}",
    errno.EACCES: f"this user may not write there; give it the right to, {_OTHER_FOLDER_HINT}",
    errno.EPERM: f"this user may not write there; give it the right to, {_OTHER_FOLDER_HINT}",
    errno.ENOENT: "the folder is not there; mount it or make it",
    errno.ENOTDIR: "this is no folder, or a symlink to one; name the folder itself",
    errno.ELOOP: "this is no folder, or a symlink to one; name the folder itself",
    errno.EIO: "the disk failed to write; look at the kernel's log",
    errno.ESTALE: "the share lost the folder; mount it again",
}


class DurablePublisher:
    """Fits TranscriptPublisher on a local or network file system."""

    def __init__(
        self,
        *,
        strategies: tuple[CreateStrategy, ...] = CREATE_STRATEGIES,
        leftovers: Leftovers | None = None,
    ) -> None:
        self._strategies = strategies
        self._leftovers = leftovers or Leftovers()

    def publish(self, output: Output) -> None:
        """Write one file: its content, then its name, then the folder are made durable.

        A file of the same bytes is adopted. Raises NameTaken, TryLater.
        """
        self._write(output)
        _sync(output)

    def publish_all(self, outputs: Sequence[Output]) -> list[NameTaken | RetryLater | None]:
        """Write many files side by side, as a disk makes many durable in the time of one; see the port."""
        if len(outputs) <= 1:
            return [_catch_problem(self.publish, output) for output in outputs]
        n_threads = min(MAX_THREADS, len(outputs))
        problems: list[NameTaken | RetryLater | None] = [None] * len(outputs)

        def write_share(first: int) -> None:
            """Write a thread's share: to hand them over one by one would cost as much again."""
            for n in range(first, len(outputs), n_threads):
                problems[n] = _catch_problem(self._write, outputs[n])

        with ThreadPoolExecutor(n_threads, thread_name_prefix="publish") as threads:
            list(threads.map(write_share, range(n_threads)))
        unsynced = {o.path.parent: o for o, p in zip(outputs, problems, strict=True) if p is None}
        folders = {path: _catch_problem(_sync, output) for path, output in unsynced.items()}
        return [
            problem or folders.get(output.path.parent)
            for output, problem in zip(outputs, problems, strict=True)
        ]

    def _write(self, output: Output) -> None:
        """Write one file and make its content durable, not yet its name. Raises NameTaken, TryLater."""
        name = output.path.name
        with _open_folder_of(output) as folder:
            self._leftovers.remove_from(folder)
            for _ in range(_MAX_ATTEMPTS):
                try:
                    create_file(folder, name, output.content, strategies=self._strategies)
                    break
                except FileExistsError:
                    with contextlib.suppress(FileNotFoundError):  # gone again: once more
                        _adopt_or_replace(folder, output)
                        break
            else:
                raise NameTaken(f"{escape_path(output.path)}: the name comes and goes; left alone")

    def is_foreign(self, path: Path, *, below: Path, ours_sha256: Collection[str]) -> bool:
        """Whether something lies there that is not what we wrote. Raises TryLater."""
        try:
            with open_folder(path.parent, below=below, make=False) as folder:
                return sha256_at(folder, path.name) not in ours_sha256
        except RetryLater as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        except NameTaken:
            return True


def _open_folder_of(output: Output) -> AbstractContextManager[int]:
    below = output.below or output.path.parent
    return open_folder(output.path.parent, below=below, make=output.creates_folder)


def _sync(output: Output) -> None:
    """Make the names in its folder durable. Raises NameTaken, TryLater."""
    with _open_folder_of(output) as folder:
        sync_folder(folder)


def _catch_problem(
    write: Callable[[Output], None], output: Output
) -> NameTaken | RetryLater | None:
    try:
        write(output)
    except (NameTaken, RetryLater) as error:
        return error
    return None


def read_plain_file(path: Path, *, below: Path, max_bytes: int) -> bytes | None:
    """The content of a plain file, reached through no link below `below`; None for anything else."""
    try:
        with (
            open_folder(path.parent, below=below, make=False) as folder,
            os.fdopen(os.open(path.name, _FILE_FLAGS, dir_fd=folder), "rb") as stream,
        ):
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
                return None
            return stream.read()
    except (RetryLater, NameTaken):
        return None


def _adopt_or_replace(folder: int, output: Output) -> None:
    """Deal with what has the name. Raises FileNotFoundError if it is gone meanwhile."""
    name, content = output.path.name, output.content
    size_bytes = None if output.replaces_sha256 else len(content)
    found = sha256_at(folder, name, size_bytes=size_bytes)
    if found == hashlib.sha256(content).hexdigest():
        file = os.open(name, _FILE_FLAGS, dir_fd=folder)
        try:
            os.fsync(file)  # whoever wrote it may not have
        finally:
            os.close(file)
        return
    if output.replaces_sha256 is None or found != output.replaces_sha256:
        raise NameTaken(
            f"{escape_path(output.path)}: not ours, or changed since we wrote it; left alone"
        )
    with temporary_file(folder, content, replaces_sha256=output.replaces_sha256) as temp:
        try:
            renameat2(folder, temp, name, RENAME_EXCHANGE)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                text = "cannot be replaced safely on this file system; left alone"
                raise NameTaken(f"{escape_path(output.path)}: {text}") from error
            raise
        with contextlib.suppress(OSError):
            if sha256_at(folder, temp) == found:
                os.unlink(temp, dir_fd=folder)
                return
        _undo_exchange(folder, temp, output.path)


def _undo_exchange(folder: int, temp: str, path: Path) -> None:
    """Somebody put a file there at the last moment: it gets its name again."""
    for flags in (RENAME_EXCHANGE, RENAME_NOREPLACE):
        try:
            renameat2(folder, temp, path.name, flags)
        except OSError:
            continue
        raise NameTaken(f"{escape_path(path)}: changed while it was replaced; left alone")
    raise NameTaken(f"{escape_path(path)}: changed while it was replaced; what was there is {temp}")


def sha256_at(folder: int, name: str, *, size_bytes: int | None = None) -> str | None:
    """The hash of a plain readable file (of that size); None for anything else of that name.

    Raises FileNotFoundError if there is nothing.
    """
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(there.st_mode) or size_bytes not in (None, there.st_size):
            return None
        file = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENAMETOOLONG):
            return None
        raise
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def open_folder(path: Path, *, below: Path, make: bool) -> Iterator[int]:
    """The folder's descriptor, reached through no link below `below`; failures are told by its name."""
    try:
        if make:
            _make_folders(below)
        folder = _open_below(below, path, make=make)
        try:
            yield folder
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise NameTaken(f"{escape_path(path)}: the name is too long there") from error
        way_out = _ERROR_HINTS.get(error.errno or 0, error.strerror or str(error))
        raise RetryLater(f"{escape_path(path)}: {way_out}") from error


def _open_below(below: Path, path: Path, *, make: bool) -> int:
    """Open a folder step by step: its owner may have put links above `below`, nobody below it."""
    here = os.open(below, _FOLDER_FLAGS if below == path else _FOLDER_FLAGS & ~os.O_NOFOLLOW)
    for name in path.relative_to(below).parts:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=here)
                    sync_folder(here)
            inner = os.open(name, _FOLDER_FLAGS, dir_fd=here)
        finally:
            os.close(here)
        here = inner
    return here


def _make_folders(path: Path) -> None:
    """Make a folder and those above it, durably."""
    if path.is_dir():
        return
    _make_folders(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_folder(above)
    finally:
        os.close(above)


def escape_path(path: Path) -> str:
    """A path as it may be printed: undecodable bytes as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
