"""How many folders inotify should watch, and how many it does: beyond its limit it leaves out the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fdinfo")


def count_folders(folders: Iterable[tuple[Path, bool]]) -> int:
    """How many folders these are; with all below them where the second of a pair says so."""
    return sum(sum(1 for _ in os.walk(path)) if recursive else 1 for path, recursive in folders)


def count_watches() -> int | None:
    """How many watches this process has; None where the kernel does not tell. Source: proc(5), fdinfo."""
    try:
        return sum(_watches_of(entry) for entry in _DESCRIPTORS.iterdir())
    except OSError:
        return None


def _watches_of(descriptor: Path) -> int:
    try:
        return descriptor.read_text(encoding="ascii").count("inotify wd:")
    except OSError:  # closed meanwhile
        return 0
