"""Scans an inbox, or some of its paths, and records changed and settled files in the ledger."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from thoth_watch.application.ports.audio import AudioDecoder
from thoth_watch.application.ports.inbox import AudioFiles, Clock, Inbox
from thoth_watch.application.ports.ledger import InboxLedger, KnownFile
from thoth_watch.domain.audio import AudioFile, Listing, RefusedEntry
from thoth_watch.domain.settling import EMPTY_TIMEOUT_S, SettleTracker
from thoth_watch.domain.states import State

log = logging.getLogger(__name__)

REASON_NEW = "new: waiting for the copy to finish"
REASON_CHANGED = "changed: waiting for the copy to finish"
REASON_WRITER = "still open for writing in another program"
REASON_AWAITING_SENTINEL = "waiting for the {sentinel} file that marks the recording as complete"
REASON_EMPTY = "empty: 0 bytes; marked FAILED if it is still empty after an hour"
GONE_AFTER_SCANS = 2
MAX_SETTLED_PER_SCAN = 1_000  # settled files whose headers are read before batches are dispatched


@dataclass(slots=True)
class _Changes:
    """The changes of one scan, to be recorded in the ledger."""

    seen: dict[Path, tuple[AudioFile, str]] = field(default_factory=dict)
    ready: list[tuple[AudioFile, float | None]] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    expired_empty: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.seen or self.ready or self.refused or self.gone)


class WatchInbox:
    """Watches one inbox: `scan` covers all of it, `scan_paths` the given and the settling paths."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        ledger: InboxLedger,
        files: AudioFiles,
        decoder: AudioDecoder,
        clock: Clock,
        settle_s: float,
        sentinel: str | None = None,
    ) -> None:
        """sentinel: suffix of the files that mark a recording as complete."""
        self._inbox = inbox
        self._ledger = ledger
        self._files = files
        self._decoder = decoder
        self._clock = clock
        self._tracker = SettleTracker(settle_s)
        self._reason_awaiting_sentinel = REASON_AWAITING_SENTINEL.format(sentinel=sentinel)
        self._known: dict[Path, KnownFile] = {}
        self._is_loaded = False
        self._noted: dict[Path, str] = {}  # why a file still waits, as recorded in the ledger
        self._pending: set[Path] = set()  # still settling as of the last scan
        self._settled: deque[AudioFile] = deque()
        self._missing: dict[Path, int] = {}
        self._identity: tuple[int, int] | None = None
        self._seen_in_folder: set[Path] | None = None  # since the folder was replaced; None: never
        self.unsettled = 0  # non-empty files that are still settling
        self.last = Listing(inbox.root)  # the last full scan, without its entries
        self.n_recorded = 0  # scans that changed the ledger
        self.scan_s = 0.0  # duration of the last scan, without reading headers

    def scan(self) -> None:
        """Scan the inbox and record its changes; or record more settled files of the scan before."""
        if self._settled and not self.is_unavailable:
            changes = _Changes()
            self._take_settled(changes)
            self._record(changes)
            self.unsettled -= len(changes.ready)
            return
        if not self._is_loaded:
            self._known = self._ledger.known_files(self._inbox.root)
            self._is_loaded = True
        self.scan_s, began_s = 0.0, self._clock.monotonic_s()
        listing = self._checked_mount(self._inbox.scan())
        self._log_problem(listing.problem)
        self.last = replace(listing, files=(), refused=(), awaiting_sentinel=frozenset())
        if self.is_unavailable:
            self.unsettled = 0
            self._settled.clear()
            return
        gone = self._gone_paths(listing)
        settling = self._ledger.settling(self._inbox.root)
        self._apply_listing(listing, began_s, settling=settling, gone=gone)

    def scan_paths(self, named: Collection[Path]) -> bool:
        """Scan these paths and all files that are still settling; False: a full scan is needed.

        Missing files do not become GONE: that takes two full scans.
        """
        self.scan_s, began_s = 0.0, self._clock.monotonic_s()
        if self.is_unavailable:
            return not named
        paths = {*named, *self._pending}
        if not paths:
            return True
        listing = self._inbox.scan_paths(paths)
        if listing.identity != self.last.identity:
            return False
        if self._seen_in_folder is not None:
            self._seen_in_folder |= _present(listing)
        self._apply_listing(listing, began_s, settling=self._pending, gone=[])
        return listing.problem is None

    def _apply_listing(
        self, listing: Listing, began_s: float, *, settling: Collection[Path], gone: list[Path]
    ) -> None:
        """Record the new, changed, refused, settled and gone files of a scan."""
        changes = _Changes(refused=self._new_refusals(listing), gone=gone)
        pending = []
        for file in listing.files:
            before = self._known.get(file.path)
            if before is None or before.signature != file.signature:
                reason = REASON_NEW if before is None else REASON_CHANGED
                changes.seen[file.path] = (file, reason)
                pending.append(file)
            elif file.path in settling:
                pending.append(file)
        self._pending = {file.path for file in pending}
        announced = [file for file in pending if file.path not in listing.awaiting_sentinel]
        for file in pending:
            if file.path in listing.awaiting_sentinel:
                self._note(file, self._reason_awaiting_sentinel, changes)
        self.scan_s = self._clock.monotonic_s() - began_s
        self._settle(announced, changes)
        self._record(changes)
        n_empty = sum(1 for file in announced if file.signature.size_bytes == 0)
        self.unsettled = len(announced) - len(changes.ready) - n_empty

    def _record(self, changes: _Changes) -> None:
        now = self._clock.now()
        if changes:
            self.n_recorded += 1
            self._ledger.record_listing(
                seen=list(changes.seen.values()),
                ready=changes.ready,
                refused=changes.refused,
                gone=changes.gone,
                now=now,
            )
        if changes.expired_empty:
            self._ledger.fail_empty_files(changes.expired_empty, now=now)
        self._remember(changes)

    @property
    def has_more(self) -> bool:
        """Return True if the last scan left settled files to be recorded by the next one."""
        return bool(self._settled)

    def forget(self, path: Path) -> None:
        """Forget a path whose recording we have moved: a file found there later is a new one."""
        for by_path in (self._known, self._noted, self._missing):
            by_path.pop(path, None)
        self._pending.discard(path)
        if self._seen_in_folder is not None:
            self._seen_in_folder.discard(path)

    @property
    def root(self) -> Path:
        """Return the inbox's path."""
        return self._inbox.root

    @property
    def is_unavailable(self) -> bool:
        """Return True if the inbox is missing or another folder is at its path."""
        return self.last.identity is None

    def next_s(self) -> float | None:
        """Return when the next file may have settled, in monotonic seconds; None if no file is settling."""
        return self._tracker.next_s()

    def _settle(self, pending: list[AudioFile], changes: _Changes) -> None:
        expired_before = self._clock.now() - timedelta(seconds=EMPTY_TIMEOUT_S)
        for file in pending:
            if file.signature.size_bytes > 0:
                continue
            self._note(file, REASON_EMPTY, changes)
            if file.signature.modified_ns < expired_before.timestamp() * 1e9:
                changes.expired_empty.append(file.path)
        settled = self._tracker.update(pending, now_s=self._clock.monotonic_s())
        self._pending -= {file.path for file in settled}
        self._settled.extend(settled)
        self._take_settled(changes)

    def _take_settled(self, changes: _Changes) -> None:
        """Mark a portion of the settled files as READY; files that are open for writing settle again."""
        for _ in range(min(MAX_SETTLED_PER_SCAN, len(self._settled))):
            file = self._settled.popleft()
            if self._files.is_being_written(file):
                self._note(file, REASON_WRITER, changes)
                self._pending.add(file.path)
                self._tracker.restart(file, now_s=self._clock.monotonic_s())
            else:
                changes.ready.append((file, self._decoder.probe(file)))

    def _note(self, file: AudioFile, reason: str, changes: _Changes) -> None:
        if file.path in changes.seen or self._noted.get(file.path) != reason:
            changes.seen[file.path] = (file, reason)
            self._noted[file.path] = reason

    def _new_refusals(self, listing: Listing) -> list[RefusedEntry]:
        return [
            entry
            for entry in listing.refused
            if (before := self._known.get(entry.path)) is None or before.state != State.REFUSED
        ]

    def _checked_mount(self, listing: Listing) -> Listing:
        """Return the listing, or an empty one with a problem if the inbox itself is not mounted.

        That is assumed if the folder is on another file system than all known recordings and
        contains none of them: an empty mount point, or something mounted over the inbox.
        """
        if listing.identity is None:
            return listing
        known_files = {
            p: k.signature.device for p, k in self._known.items() if k.signature is not None
        }
        is_same_file_system = not known_files or listing.identity[0] in known_files.values()
        if is_same_file_system or any(file.path in known_files for file in listing.files):
            return listing
        problem = (
            f"{listing.inbox}: on another file system than its known recordings and without them;"
            " check that it is mounted (for a new folder, use another path or a new ledger)"
        )
        return Listing(listing.inbox, problem=problem)

    def _gone_paths(self, listing: Listing) -> list[Path]:
        """Return the paths that were missing from two full scans of the folder they were seen in.

        Incomplete scans do not count, nor do scans of another folder that replaced the inbox.
        """
        present = _present(listing)
        if self._identity not in (None, listing.identity):
            self._seen_in_folder, self._missing = set(), {}
        self._identity = listing.identity
        if self._seen_in_folder is not None:
            self._seen_in_folder |= present
        if listing.problem is not None:
            return []
        absent = self._known.keys() - present
        if self._seen_in_folder is not None:
            absent &= self._seen_in_folder
        missing = {p: self._missing.get(p, 0) + 1 for p in absent}
        self._missing = {p: n_scans for p, n_scans in missing.items() if n_scans < GONE_AFTER_SCANS}
        return [path for path, n_scans in missing.items() if n_scans >= GONE_AFTER_SCANS]

    def _remember(self, changes: _Changes) -> None:
        for file, _ in changes.seen.values():
            self._known[file.path] = KnownFile(0, State.SEEN, file.signature)
        for entry in changes.refused:
            self._known[entry.path] = KnownFile(0, State.REFUSED, None)
        for file, _ in changes.ready:
            self._noted.pop(file.path, None)
        for path in changes.gone:
            self._known.pop(path, None)
            self._noted.pop(path, None)

    def _log_problem(self, problem: str | None) -> None:
        before = self.last.problem
        if problem and problem != before:
            log.warning(
                "inbox cannot be read completely; scanning it again later",
                extra={"event": "inbox_problem", "problem": problem},
            )
        elif before and not problem:
            log.info("inbox can be read again; scanning continues", extra={"event": "inbox_back"})


def _present(listing: Listing) -> set[Path]:
    return {file.path for file in listing.files} | {entry.path for entry in listing.refused}
