"""The ports of the watched folder: time, listings, the status of single files, file system events."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from thoth_watch.domain.audio import AudioFile, Listing


class Clock(Protocol):
    """Wall-clock and monotonic time; a port so that tests need not sleep."""

    def now(self) -> datetime:
        """Return the current time as an aware datetime in UTC."""

    def monotonic_s(self) -> float:
        """Return monotonic seconds."""

    def sleep(self, seconds: float) -> None:
        """Return after that time."""


class Inbox(Protocol):
    """A watched folder."""

    @property
    def root(self) -> Path:
        """Return the absolute path of the folder."""

    def scan(self) -> Listing:
        """List the folder now. Problems with its content are reported in Listing.problem, never raised."""

    def scan_paths(self, paths: Collection[Path]) -> Listing:
        """List only these paths below `root`; the listing contains no other entries."""


class FileStatus(StrEnum):
    """How a file differs from the version that was seen."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


class AudioFiles(Protocol):
    """Checks single recordings without reading them."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Return True if a process has the file open for writing or wrote to it since; False if unknown."""

    def file_status(self, file: AudioFile) -> FileStatus:
        """Compare the file with the version that was seen. Raises RetryLater if its inbox is unavailable."""


class FolderWatcher(Protocol):
    """Notifies of changes in the inboxes; notifications may be spurious or missing."""

    def wait(self, timeout_s: float) -> bool:
        """Block until something may have changed or `wake` is called; False if `timeout_s` passed instead."""

    def changed_paths(self) -> Collection[Path] | None:
        """Return the paths that changed since the last call; None: anything may have changed."""

    def wake(self) -> None:
        """End `wait` from another thread."""
