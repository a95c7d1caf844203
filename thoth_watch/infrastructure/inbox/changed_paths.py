"""Collect the paths named by file system events between two scans of an inbox."""

from __future__ import annotations

import threading
from pathlib import Path

FULL_SCAN_AFTER_EVENTS = 1_000  # the kernel's queue holds 16,384 events and drops further ones


class ChangedPaths:
    """Changed paths since the last `take`, or the fact that anything may have changed; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: set[Path] = set()
        self._n_events = 0  # since the last full scan
        self._is_all_changed = True

    def count_event(self) -> bool:
        """Count an event; return True if there were enough events that others may have been lost."""
        with self._lock:
            self._n_events += 1
            is_flood = self._n_events >= FULL_SCAN_AFTER_EVENTS
            self._is_all_changed = self._is_all_changed or is_flood
            return is_flood

    def add(self, path: Path) -> None:
        """Add a path that an event named as changed."""
        with self._lock:
            self._paths.add(path)

    def mark_all_changed(self) -> None:
        """Record that anything may have changed, so that a full scan is needed."""
        with self._lock:
            self._is_all_changed = True

    def take(self) -> frozenset[Path] | None:
        """Return and clear the changed paths; None if anything may have changed."""
        with self._lock:
            paths, self._paths = self._paths, set()
            if not self._is_all_changed:
                return frozenset(paths)
            self._n_events, self._is_all_changed = 0, False
            return None
