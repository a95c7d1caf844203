"""Compare the number of folders to watch with the inotify watches that the kernel granted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fdinfo")


def count_folders(folders: Iterable[tuple[Path, bool]]) -> int:
    """Return the number of folders, including all subfolders of each (path, True) pair."""
    return sum(sum(1 for _ in os.walk(path)) if recursive else 1 for path, recursive in folders)


def count_watches() -> int | None:
    """Return the number of watches of this process; None if unknown. Source: proc(5), fdinfo."""
    try:
        return sum(_watches_of(entry) for entry in _DESCRIPTORS.iterdir())
    except OSError:
        return None


def _watches_of(descriptor: Path) -> int:
    try:
        return descriptor.read_text(encoding="ascii").count("inotify wd:")
    except OSError:  # closed meanwhile
        return 0
