"""Holds the files that wait for a batch, and reads them from the ledger again when they may have changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from thoth_watch.application.backoff import Backoff
from thoth_watch.application.ports.dispatch import Dispatcher
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import BatchQueue
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import BatchPolicy, Order, WaitingFile, sort_files
from thoth_watch.domain.file_options import FileOptions

MANY_FILES = 100  # a backlog this long is dispatched before the next scan
MAX_CANDIDATES = 4_000  # waiting files that are considered for batches at a time


class WaitingList:
    """Lists the READY files in the order of the batches; a long list is not read again at every step."""

    def __init__(
        self,
        ledger: BatchQueue,
        *,
        scan_schedule: ScanSchedule,
        dispatcher: Dispatcher,
        resolve_file_options: Callable[[AudioFile], FileOptions],
        policy: BatchPolicy,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._scan_schedule = scan_schedule
        self._dispatcher = dispatcher
        self._resolve_file_options = resolve_file_options
        self._policy = policy
        self._files: list[WaitingFile] = []  # sorted, as last read from the ledger
        self._is_outdated = True
        self._was_busy = False
        self._read_backoff = Backoff(clock)

    @property
    def precedes_scan(self) -> bool:
        """Return True if an engine became free and many files are known to wait: dispatching comes first."""
        is_deep = len(self._files) >= MANY_FILES
        return self._was_busy and is_deep and not self._dispatcher.is_busy

    def scan(self) -> bool:
        """Scan the inboxes unless dispatching comes first; return True after a full scan."""
        if self.precedes_scan:
            return False
        n_recorded = self._scan_schedule.n_recorded
        is_full_scan = self._scan_schedule.scan()
        self._is_outdated |= is_full_scan or self._scan_schedule.n_recorded != n_recorded
        return is_full_scan

    def end_step(self) -> None:
        """Remember whether all engines are busy now; after an idle step, a scan comes first."""
        self._was_busy = self._dispatcher.is_busy

    def mark_outdated(self) -> None:
        """Have the list read again as soon as the backoff allows, because files may have become READY."""
        self._is_outdated = True

    def files(self, *, unavailable: Collection[Path]) -> list[WaitingFile]:
        """Return the waiting files of all inboxes except the unavailable ones, sorted."""
        is_due = self._is_outdated and self._read_backoff.is_due and not self.precedes_scan
        if not self._files or (is_due and not self._only_appends()):
            with self._read_backoff.measure():
                waiting = self._ledger.waiting(self._resolve_file_options)
                self._files, self._is_outdated = sort_files(waiting, self._policy), False
        if not unavailable:
            return self._files
        return [item for item in self._files if item.file.inbox not in unavailable]

    def read_again(self, *, unavailable: Collection[Path]) -> list[WaitingFile]:
        """Return the waiting files as they are in the ledger now."""
        self._files = []
        return self.files(unavailable=unavailable)

    def keep(self, remaining: list[WaitingFile]) -> None:
        """Keep only these files, after the others were dispatched."""
        self._files = remaining

    def _only_appends(self) -> bool:
        """Return True if new files only extend a long list: it is read again once all settled files are in it."""
        goes_last = self._policy.order == Order.OLDEST
        is_long = len(self._files) >= MAX_CANDIDATES
        return goes_last and is_long and self._scan_schedule.has_more
