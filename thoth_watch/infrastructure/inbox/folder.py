"""One scan of a folder, by directory descriptors and without following a link: the truth about the inbox."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from thoth_watch.application.ports import Whereabouts
from thoth_watch.domain.audio import (
    AUDIO_EXTENSIONS,
    AudioFile,
    Listing,
    RefusedEntry,
    Signature,
)
from thoth_watch.domain.errors import TryLater
from thoth_watch.infrastructure.inbox.junk import JunkNames

MAX_DEPTH = 32
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_F_SETSIG = 10  # not in the fcntl module

_KINDS = (
    (stat.S_ISLNK, "a symbolic link; links are not followed: copy the recording itself"),
    (stat.S_ISDIR, "a folder with a recording's name"),
    (stat.S_ISFIFO, "a named pipe; only plain files are read"),
    (stat.S_ISSOCK, "a socket; only plain files are read"),
    (stat.S_ISCHR, "a device; only plain files are read"),
    (stat.S_ISBLK, "a device; only plain files are read"),
)


@dataclass(slots=True)
class _Found:
    files: list[AudioFile] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)
    unannounced: set[Path] = field(default_factory=set)
    ignored: int = 0
    other: int = 0
    problems: list[str] = field(default_factory=list)


class FolderInbox:
    """A folder of this machine, or one mounted on it."""

    def __init__(
        self,
        root: Path,
        *,
        recursive: bool = True,
        extensions: Iterable[str] = AUDIO_EXTENSIONS,
        ignore: Iterable[str] = (),
        sentinel: str | None = None,
    ) -> None:
        """sentinel: the ending of an empty file by which a writer says that a recording is whole."""
        self._root = Path(os.path.abspath(root))
        self._recursive = recursive
        self._suffixes = frozenset("." + e.lower().lstrip(".") for e in extensions)
        self._junk = JunkNames(ignore)
        self._sentinel = sentinel

    @property
    def root(self) -> Path:
        """Its absolute path."""
        return self._root

    def look(self) -> Listing:
        """List the folder. What cannot be read is named in `problem`; the rest is listed all the same."""
        found = _Found()
        try:
            # the inbox itself may be a link that its owner made; what lies in it may not
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                info = os.fstat(folder)
                self._scan(folder, self._root, 0, found)
            finally:
                os.close(folder)
        except OSError as error:
            problem = (
                f"{self._root}: {os.strerror(error.errno or 0)}; is the folder there and mounted?"
            )
            return Listing(self._root, problem=problem)
        return Listing(
            inbox=self._root,
            files=tuple(found.files),
            refused=tuple(found.refused),
            unannounced=frozenset(found.unannounced),
            ignored=found.ignored,
            other=found.other,
            problem="; ".join(found.problems[:5]) or None,
            identity=(info.st_dev, info.st_ino),
        )

    def _scan(self, folder: int, path: Path, depth: int, found: _Found) -> None:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
        except OSError as error:
            found.problems.append(f"{path}: {os.strerror(error.errno or 0)}")
            return
        n_before = len(found.files)
        for name in names:
            self._entry(folder, path, name, depth, found)
        if self._sentinel is not None:
            there = set(names)
            here = (file.path for file in found.files[n_before:] if file.path.parent == path)
            found.unannounced |= {p for p in here if not self._is_announced(p, there)}

    def _is_announced(self, path: Path, names: set[str]) -> bool:
        """Whether `talk.wav.ready` or `talk.ready` lies beside `talk.wav`."""
        return bool(names & {f"{path.name}{self._sentinel}", f"{path.stem}{self._sentinel}"})

    def _entry(self, folder: int, path: Path, name: str, depth: int, found: _Found) -> None:
        if name in self._junk:
            found.ignored += 1
            return
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return  # gone between the listing and now: the next look will say
        except OSError as error:
            found.problems.append(f"{path / name}: {os.strerror(error.errno or 0)}")
            return
        is_audio_named = os.path.splitext(name)[1].lower() in self._suffixes
        here = path / name
        if is_audio_named and stat.S_ISREG(info.st_mode):
            found.files.append(AudioFile(self._root, here, signature_of(info)))
        elif is_audio_named:
            found.refused.append(RefusedEntry(self._root, here, _kind(info.st_mode)))
        elif stat.S_ISREG(info.st_mode):
            found.other += 1
        if stat.S_ISDIR(info.st_mode) and self._recursive:
            self._descend(folder, name, here, depth, found)

    def _descend(self, folder: int, name: str, here: Path, depth: int, found: _Found) -> None:
        if depth >= MAX_DEPTH:
            found.problems.append(f"{here}: deeper than {MAX_DEPTH} folders; not looked into")
            return
        try:
            child = os.open(name, _OPEN_FOLDER, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            found.problems.append(f"{here}: {os.strerror(error.errno or 0)}")
            return
        try:
            self._scan(child, here, depth + 1, found)
        finally:
            os.close(child)


class LocalFiles:
    """Answers about single recordings, without reading them."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Whether some process of this machine has the file open for writing.

        A read lease is refused while there is a writer. It is a hint: network file systems and
        files of other owners cannot tell, and then the answer is no. Source: fcntl(2), F_SETLEASE.
        """
        try:
            with _folder_of(file) as folder:
                handle = os.open(file.path.name, _OPEN_FILE, dir_fd=folder)
        except OSError:
            return False
        try:
            # a writer that comes now breaks the lease by a signal; SIGURG is ignored by default
            fcntl.fcntl(handle, _F_SETSIG, signal.SIGURG)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        finally:
            os.close(handle)
        return False

    def whereabouts(self, file: AudioFile) -> Whereabouts:
        """Whether the file is still the one that was seen. Raises TryLater where the inbox is away."""
        try:
            with _folder_of(file) as folder:
                info = os.stat(file.path.name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            if _is_away(file):
                raise TryLater(f"{file.inbox}: is the folder there and mounted?") from error
            return Whereabouts.GONE
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Whereabouts.GONE  # a link took a folder's place
            return (
                Whereabouts.SAME
            )  # cannot be told; the decoder has read the version that was seen
        same = signature_of(info) == file.signature
        return Whereabouts.SAME if same else Whereabouts.CHANGED


@contextmanager
def _folder_of(file: AudioFile) -> Iterator[int]:
    """The descriptor of the folder that a file is in, reached through no link below the inbox."""
    here = os.open(file.inbox, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in file.relative.parent.parts:
            inner = os.open(name, _OPEN_FOLDER, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def _is_away(file: AudioFile) -> bool:
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


def _kind(mode: int) -> str:
    return next((text for test, text in _KINDS if test(mode)), "not a plain file")
