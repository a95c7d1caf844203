"""What the events since the last look say of an inbox: some paths, or that anything may have changed."""

from __future__ import annotations

import threading
from pathlib import Path

FULL_SCAN_AFTER_EVENTS = 1_000  # the kernel's queue holds 16,384 and drops what comes then


class ChangedPaths:
    """What events have told since it was asked last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: set[Path] = set()
        self._n_events = 0  # since everything was in doubt
        self._is_all_changed = True

    def count_event(self) -> bool:
        """Count it. Whether there were so many that others may have been lost."""
        with self._lock:
            self._n_events += 1
            are_many = self._n_events >= FULL_SCAN_AFTER_EVENTS
            self._is_all_changed = self._is_all_changed or are_many
            return are_many

    def add(self, path: Path) -> None:
        """It was named as changed."""
        with self._lock:
            self._paths.add(path)

    def mark_all_changed(self) -> None:
        """Anything may have changed."""
        with self._lock:
            self._is_all_changed = True

    def take(self) -> frozenset[Path] | None:
        """The paths that were named; None where anything may have changed."""
        with self._lock:
            paths, self._paths = self._paths, set()
            if not self._is_all_changed:
                return frozenset(paths)
            self._n_events, self._is_all_changed = 0, False
            return None
