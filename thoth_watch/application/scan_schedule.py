"""Decides when to scan the inboxes: completely at intervals, otherwise only the paths named by events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from thoth_watch.application.backoff import Backoff
from thoth_watch.application.ports.inbox import Clock, FolderWatcher
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.errors import RetryLater


class ScanSchedule:
    """Schedules the scans of all inboxes, so that a huge inbox costs as little as possible.

    Paths named by events and files that are still settling are scanned individually. Full scans
    run every `rescan_s`, and when an event does not name the changed paths.
    """

    def __init__(
        self,
        inboxes: Sequence[WatchInbox],
        *,
        folder_watcher: FolderWatcher,
        clock: Clock,
        rescan_s: float,
    ) -> None:
        self._inboxes = inboxes
        self._folder_watcher = folder_watcher
        self._clock = clock
        self._rescan_s = rescan_s
        self._full_backoff, self._paths_backoff = Backoff(clock), Backoff(clock)
        self._rescan_at_s = -math.inf
        self._needs_full_scan = True
        self._changed_paths: set[Path] = set()

    def scan(self) -> bool:
        """Scan what is due; return True if it was a full scan of every inbox.

        If the result cannot be recorded, the next scan is a full one.
        """
        try:
            return self._scan()
        except Exception:
            self._needs_full_scan = True
            raise

    def _scan(self) -> bool:
        if self.has_more:
            for inbox in self._inboxes:
                if inbox.has_more:
                    inbox.scan()
            return False
        self._collect_changes()
        if self._needs_full_scan and self._full_backoff.is_due:
            self._scan_all()
            return True
        if self._paths_backoff.is_due:
            self._scan_changed()
        return False

    @property
    def has_more(self) -> bool:
        """Return True if the last scan left settled files to be recorded by the next one."""
        return any(inbox.has_more for inbox in self._inboxes)

    @property
    def n_recorded(self) -> int:
        """Return the number of scans that changed the ledger."""
        return sum(inbox.n_recorded for inbox in self._inboxes)

    @property
    def n_unsettled(self) -> int:
        """Return the number of non-empty files that are still settling."""
        return sum(inbox.unsettled for inbox in self._inboxes)

    @property
    def unavailable(self) -> set[Path]:
        """Return the folders of the inboxes that are unavailable."""
        return {inbox.root for inbox in self._inboxes if inbox.is_unavailable}

    def raise_if_incomplete(self) -> None:
        """Raise RetryLater if the last full scan was incomplete: an inbox may hold more files to drain."""
        problems = [inbox.last.problem for inbox in self._inboxes if inbox.last.problem]
        if problems:
            raise RetryLater("; ".join(problems))

    def wait(self, timeout_s: float) -> bool:
        """Wait until an inbox may have changed or the folder watcher is woken; False after the timeout."""
        return self._folder_watcher.wait(timeout_s)

    def request_full_scan(self) -> None:
        """Make the next scan a full one, as soon as the backoff allows; a drain ends after it."""
        self._needs_full_scan = True

    def _collect_changes(self) -> None:
        named = self._folder_watcher.changed_paths()
        is_over = self._clock.monotonic_s() >= self._rescan_at_s
        self._changed_paths |= set(named or ())
        self._needs_full_scan |= named is None or is_over

    def _scan_all(self) -> None:
        self._rescan_at_s = self._clock.monotonic_s() + self._rescan_s
        self._needs_full_scan, self._changed_paths = False, set()
        for inbox in self._inboxes:
            inbox.scan()
        self._full_backoff.pause_after(self._scan_duration_s())

    def _scan_changed(self) -> None:
        named, self._changed_paths = self._changed_paths, set()
        for inbox in self._inboxes:
            in_this_inbox = {path for path in named if path.is_relative_to(inbox.root)}
            if not inbox.scan_paths(in_this_inbox):
                self._needs_full_scan = True
        self._paths_backoff.pause_after(self._scan_duration_s())

    def _scan_duration_s(self) -> float:
        return sum(inbox.scan_s for inbox in self._inboxes)

    def next_s(self) -> float:
        """Return the monotonic seconds at which the next scan is due."""
        due = [self._rescan_at_s]
        if self._needs_full_scan:
            due.append(self._full_backoff.next_s)
        if self._changed_paths:
            due.append(self._paths_backoff.next_s)
        settles_s = [at_s for inbox in self._inboxes if (at_s := inbox.next_s()) is not None]
        due += [max(at_s, self._paths_backoff.next_s) for at_s in settles_s]
        return min(due)
