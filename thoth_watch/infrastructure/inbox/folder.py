"""Scan a folder through directory descriptors, without following symlinks."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from thoth_watch.domain.audio import AUDIO_EXTENSIONS, AudioFile, Listing, RefusedEntry
from thoth_watch.infrastructure.files import (
    FOLDER_FLAGS,
    ROOT_FLAGS,
    open_folder_below,
    signature_of,
)
from thoth_watch.infrastructure.inbox.junk import JunkNames

MAX_DEPTH = 32

_REFUSAL_REASONS = (
    (stat.S_ISLNK, "a symbolic link, which is not followed: copy the recording itself"),
    (stat.S_ISDIR, "a folder whose name ends like a recording's: rename it"),
    (stat.S_ISFIFO, "a named pipe; only plain files are read: copy the recording itself"),
    (stat.S_ISSOCK, "a socket; only plain files are read: copy the recording itself"),
    (stat.S_ISCHR, "a device; only plain files are read: copy the recording itself"),
    (stat.S_ISBLK, "a device; only plain files are read: copy the recording itself"),
)


@dataclass(slots=True)
class _ScanResult:
    files: list[AudioFile] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)
    awaiting_sentinel: set[Path] = field(default_factory=set)
    ignored: int = 0
    other: int = 0
    problems: list[str] = field(default_factory=list)


class FolderInbox:
    """An inbox that is a local or mounted folder."""

    def __init__(
        self,
        root: Path,
        *,
        recursive: bool = True,
        extensions: Iterable[str] = AUDIO_EXTENSIONS,
        ignore: Iterable[str] = (),
        sentinel: str | None = None,
    ) -> None:
        """sentinel: suffix of the empty file that marks a recording as completely written."""
        self._root = Path(os.path.abspath(root))
        self._recursive = recursive
        self._suffixes = frozenset("." + e.lower().lstrip(".") for e in extensions)
        self._junk = JunkNames(ignore)
        self._sentinel = sentinel

    @property
    def root(self) -> Path:
        """Absolute path of the inbox."""
        return self._root

    def scan(self) -> Listing:
        """List the whole folder; entries that cannot be read are named in `problem`."""
        return self._build_listing(
            lambda folder, found: self._scan_folder(folder, self._root, 0, found)
        )

    def scan_paths(self, paths: Collection[Path]) -> Listing:
        """List only these paths, with the same result as `scan` has for them."""
        return self._build_listing(lambda folder, found: self._scan_paths(folder, paths, found))

    def _build_listing(self, fill: Callable[[int, _ScanResult], None]) -> Listing:
        found = _ScanResult()
        try:
            folder = os.open(self._root, ROOT_FLAGS)
            try:
                info = os.fstat(folder)
                fill(folder, found)
            finally:
                os.close(folder)
        except OSError as error:
            cause = os.strerror(error.errno or 0)
            problem = f"{self._root}: {cause}; check that the folder exists and is mounted"
            return Listing(self._root, problem=problem)
        return Listing(
            inbox=self._root,
            files=tuple(found.files),
            refused=tuple(found.refused),
            awaiting_sentinel=frozenset(found.awaiting_sentinel),
            ignored=found.ignored,
            other=found.other,
            problem="; ".join(found.problems[:5]) or None,
            identity=(info.st_dev, info.st_ino),
        )

    def _scan_paths(self, root: int, paths: Collection[Path], found: _ScanResult) -> None:
        names_in: defaultdict[Path, set[str]] = defaultdict(set)
        for path in paths:
            names_in[path.parent].add(path.name)
        for path, names in names_in.items():
            relative = path.relative_to(self._root)
            parts = relative.parts
            is_watched = not parts or (self._recursive and len(parts) <= MAX_DEPTH)
            if not is_watched or any(part in self._junk for part in parts):
                continue
            try:
                folder = open_folder_below(root, relative)
                try:
                    self._scan_entries(folder, path, names, len(parts), found)
                finally:
                    os.close(folder)
            except FileNotFoundError:
                continue  # deleted meanwhile; the next full scan notices it
            except OSError as error:
                found.problems.append(f"{path}: {os.strerror(error.errno or 0)}")

    def _scan_folder(self, folder: int, path: Path, depth: int, found: _ScanResult) -> None:
        try:
            self._scan_entries(folder, path, _list_names(folder), depth, found)
        except OSError as error:
            found.problems.append(f"{path}: {os.strerror(error.errno or 0)}")

    def _scan_entries(
        self, folder: int, path: Path, names: Iterable[str], depth: int, found: _ScanResult
    ) -> None:
        n_before = len(found.files)
        for name in names:
            self._scan_entry(folder, path, name, depth, found)
        if self._sentinel is not None:
            all_names = set(_list_names(folder))
            added = (file.path for file in found.files[n_before:] if file.path.parent == path)
            found.awaiting_sentinel |= {
                path for path in added if not self._has_sentinel(path, all_names)
            }

    def _has_sentinel(self, path: Path, names: set[str]) -> bool:
        """Return True if `talk.wav.ready` or `talk.ready` exists next to `talk.wav`."""
        return bool(names & {f"{path.name}{self._sentinel}", f"{path.stem}{self._sentinel}"})

    def _scan_entry(
        self, folder: int, path: Path, name: str, depth: int, found: _ScanResult
    ) -> None:
        if name in self._junk:
            found.ignored += 1
            return
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return  # deleted since it was listed; the next scan notices it
        except OSError as error:
            found.problems.append(f"{path / name}: {os.strerror(error.errno or 0)}")
            return
        if os.path.splitext(name)[1].lower() in self._suffixes:
            self._add_audio_entry(path / name, info, found)
        elif stat.S_ISREG(info.st_mode):
            found.other += 1
        if stat.S_ISDIR(info.st_mode) and self._recursive:
            self._scan_subfolder(folder, name, path / name, depth, found)

    def _add_audio_entry(self, path: Path, info: os.stat_result, found: _ScanResult) -> None:
        if stat.S_ISREG(info.st_mode):
            found.files.append(AudioFile(self._root, path, signature_of(info)))
        else:
            found.refused.append(RefusedEntry(self._root, path, _refusal_reason(info.st_mode)))

    def _scan_subfolder(
        self, folder: int, name: str, path: Path, depth: int, found: _ScanResult
    ) -> None:
        if depth >= MAX_DEPTH:
            found.problems.append(f"{path}: deeper than {MAX_DEPTH} folders; not scanned")
            return
        try:
            child = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            found.problems.append(f"{path}: {os.strerror(error.errno or 0)}")
            return
        try:
            self._scan_folder(child, path, depth + 1, found)
        finally:
            os.close(child)


def _list_names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _refusal_reason(mode: int) -> str:
    return next((text for test, text in _REFUSAL_REASONS if test(mode)), "not a plain file")
