"""Watching: look at the inbox or at some of it, tell the ledger what changed, and who is settled."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from thoth_watch.application.ports import (
    AudioDecoder,
    AudioFiles,
    Clock,
    Inbox,
    KnownFile,
    Ledger,
)
from thoth_watch.domain.audio import AudioFile, Listing, RefusedEntry
from thoth_watch.domain.settling import EMPTY_TIMEOUT_S, SettleTracker
from thoth_watch.domain.states import State

log = logging.getLogger(__name__)

REASON_NEW = "new: waits until its copy is finished"
REASON_CHANGED = "changed: waits until its copy is finished"
REASON_WRITER = "a program still has it open for writing"
REASON_AWAITING_SENTINEL = (
    "its writer has not said that it is whole: no {sentinel} of its name beside it"
)
REASON_EMPTY = "empty: 0 bytes; given up after an hour if nothing is written to it"
GONE_AFTER_SCANS = 2
MAX_SETTLED_PER_SCAN = 1_000  # settled files whose headers are read before others may be begun


@dataclass(slots=True)
class _Changes:
    """What one look has to tell the ledger."""

    seen: dict[Path, tuple[AudioFile, str]] = field(default_factory=dict)
    ready: list[tuple[AudioFile, float | None]] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    expired_empty: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.seen or self.ready or self.refused or self.gone)


class WatchInbox:
    """Watches one inbox: the whole by `scan`, what an event named and what settles by `scan_paths`."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        ledger: Ledger,
        files: AudioFiles,
        decoder: AudioDecoder,
        clock: Clock,
        settle_s: float,
        sentinel: str | None = None,
    ) -> None:
        """sentinel: the ending of the files by which writers say that a recording is whole."""
        self._inbox = inbox
        self._ledger = ledger
        self._files = files
        self._decoder = decoder
        self._clock = clock
        self._tracker = SettleTracker(settle_s)
        self._reason_awaiting_sentinel = REASON_AWAITING_SENTINEL.format(sentinel=sentinel)
        self._known: dict[Path, KnownFile] = {}
        self._is_loaded = False
        self._noted: dict[Path, str] = {}  # why a file still waits, as the ledger has it
        self._pending: set[Path] = set()  # as of the last look they waited for their copy to finish
        self._settled: deque[AudioFile] = deque()
        self._missing: dict[Path, int] = {}
        self._identity: tuple[int, int] | None = None
        self._seen_in_folder: set[Path] | None = (
            None  # seen in this very folder; None: it never changed
        )
        self.unsettled = 0  # files with content that wait for their copy to finish
        self.last = Listing(inbox.root)  # the last look at the whole, without what was found
        self.n_recorded = 0  # looks that had anything to tell the ledger
        self.scan_s = 0.0  # that the last look or glance took, without reading headers

    def scan(self) -> None:
        """Look once and record all that changed; or, of the look before, more of what has settled."""
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
        """Look at these paths and at what waits for its copy to finish; False: only `scan` can tell.

        What is missing is not GONE by this: that takes two looks at the whole.
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
        """Record what a look found new, changed, refused or settled, and who is gone."""
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
        """Whether the last look found more settled files than were taken up at once."""
        return bool(self._settled)

    def forget(self, path: Path) -> None:
        """A recording was moved away by us: what lies at its path from now on is another one."""
        for of in (self._known, self._noted, self._missing):
            of.pop(path, None)
        self._pending.discard(path)
        if self._seen_in_folder is not None:
            self._seen_in_folder.discard(path)

    @property
    def root(self) -> Path:
        """The inbox's path."""
        return self._inbox.root

    @property
    def is_unavailable(self) -> bool:
        """Whether the inbox is not there, or what lies at its path is not the inbox."""
        return self.last.identity is None

    def next_s(self) -> float | None:
        """When to look again for the sake of a file that settles, in monotonic seconds."""
        return self._tracker.next_s()

    def _settle(self, pending: list[AudioFile], changes: _Changes) -> None:
        give_up_before = self._clock.now() - timedelta(seconds=EMPTY_TIMEOUT_S)
        for file in pending:
            if file.signature.size_bytes > 0:
                continue
            self._note(file, REASON_EMPTY, changes)
            if file.signature.modified_ns < give_up_before.timestamp() * 1e9:
                changes.expired_empty.append(file.path)
        settled = self._tracker.update(pending, now_s=self._clock.monotonic_s())
        self._pending -= {file.path for file in settled}
        self._settled.extend(settled)
        self._take_settled(changes)

    def _take_settled(self, changes: _Changes) -> None:
        """Some of the settled files are READY; one that changed since is looked at again."""
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
        """The look, or an empty one with a problem where something else lies at the inbox's path.

        That is an empty mount point, or something mounted over: another file system than that of
        every recording we know, and none of them in it.
        """
        if listing.identity is None:
            return listing
        known_files = {
            p: k.signature.device for p, k in self._known.items() if k.signature is not None
        }
        is_theirs = not known_files or listing.identity[0] in known_files.values()
        if is_theirs or any(file.path in known_files for file in listing.files):
            return listing
        problem = (
            f"{listing.inbox}: another file system than its recordings were on, and none of them;"
            " is it mounted? To begin with a new folder, give it another path or a new ledger"
        )
        return Listing(listing.inbox, problem=problem)

    def _gone_paths(self, listing: Listing) -> list[Path]:
        """Paths not seen in two whole looks at the folder that they were seen in.

        An incomplete look says nothing about what is missing, nor does one at another folder that
        took the inbox's place.
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
        self._missing = {p: looks for p, looks in missing.items() if looks < GONE_AFTER_SCANS}
        return [path for path, looks in missing.items() if looks >= GONE_AFTER_SCANS]

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
                "the inbox cannot be read whole",
                extra={"event": "inbox_problem", "problem": problem},
            )
        elif before and not problem:
            log.info("the inbox can be read again", extra={"event": "inbox_back"})


def _present(listing: Listing) -> set[Path]:
    return {file.path for file in listing.files} | {entry.path for entry in listing.refused}
