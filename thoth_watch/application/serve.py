"""The loop of daemon and oneshot: look, form a batch, claim it, hand it on, wait for the bell."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from thoth_watch.application.backoff import Backoff
from thoth_watch.application.ports import (
    AudioFiles,
    Claim,
    Clock,
    FileStatus,
    FolderWatcher,
    Ledger,
)
from thoth_watch.application.publish_transcript import PublishTranscript
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import (
    BatchPolicy,
    Load,
    Order,
    WaitingFile,
    form_batches,
    next_batch_due_s,
    sort_files,
)
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.file_options import FileOptions

log = logging.getLogger(__name__)

RETRY_SOON_S = 5.0  # `once` waits for a retry that is due within this
SETTLE_TIMEOUT_S = 600.0  # `once` waits at most so long for a file that never stops changing
PAUSE_FIRST_S, PAUSE_MAX_S = 5.0, 300.0  # after the surroundings got in the way
MIN_WAIT_S = 0.05
MANY_FILES = 100  # that wait are enough for a batch without another look
MAX_CANDIDATES = 4_000  # of those that wait, in order, are formed into batches at a time
STOP_TIMEOUT_S = 6.0  # of the ten seconds that a stop may take


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch that came to its end: recorded, or with what kept it from that."""

    claim: Claim
    error: Exception | None = None  # TryLater, LedgerBroken, EngineUnavailable
    has_died: bool = False  # with the process that worked on it


class Dispatcher(Protocol):
    """Carries out claimed batches, one or more at a time."""

    @property
    def engines(self) -> int:
        """How many batches it works on side by side."""

    @property
    def active_claims(self) -> Sequence[Claim]:
        """The batches that it has and that `ended_batches` has not told of, oldest first."""

    @property
    def is_busy(self) -> bool:
        """Whether there is no room for another batch now."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""

    def dispatch(self, claim: Claim) -> None:
        """Start on a batch; the doorbell is woken when it is finished."""

    def ended_batches(self) -> Sequence[EndedBatch]:
        """The batches that ended since this was asked last."""

    def wait(self, timeout_s: float) -> bool:
        """Whether nothing is under way in this process any more within that time."""


class StopReason(StrEnum):
    """How the loop came to its end."""

    DRAINED = "drained"
    STOPPED = "stopped"
    RELOAD = "reload"  # another configuration is to take over
    ABANDONED = "abandoned"  # stopped, with a batch under way that did not end in time


@dataclass(frozen=True, slots=True)
class ServePolicy:
    """How the loop behaves."""

    batch: BatchPolicy
    rescan_s: float  # a look at least so often, whatever the bell says
    drain: bool = False  # end when nothing is left to do
    heartbeat_s: float | None = None  # `heartbeat` at least so often
    idle_unload_s: float | None = None  # `unload` when nothing was under way for so long
    monitor_interval_s: float | None = None  # `monitor_workers` at least so often


class Serve:
    """Watches inboxes and keeps the dispatcher fed until it is told to stop, or all is drained."""

    def __init__(
        self,
        *,
        inboxes: Sequence[WatchInbox],
        ledger: Ledger,
        dispatcher: Dispatcher,
        folder_watcher: FolderWatcher,
        publish: PublishTranscript,
        files: AudioFiles,
        resolve_file_options: Callable[[AudioFile], FileOptions],
        clock: Clock,
        policy: ServePolicy,
        owner: str,
        ensure_engine: Callable[[], None],
        unload: Callable[[], None] = lambda: None,
        monitor_workers: Callable[[], None] = lambda: None,
        move_finished: Callable[[], bool] = lambda: False,
        quiet_until: Callable[[datetime], datetime | None] = lambda _: None,
        heartbeat: Callable[[], None] = lambda: None,
        on_ready: Callable[[], None] = lambda: None,
        wants_reload: Callable[[], bool] = lambda: False,
    ) -> None:
        """tidy: moves what is done, where that is asked; whether there is more to move at once.

        tend: looks after batches that are carried out elsewhere.
        """
        self._inboxes = inboxes
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._folder_watcher = folder_watcher
        self._publish = publish
        self._files = files
        self._treatment_of = resolve_file_options
        self._clock = clock
        self._policy = policy
        self._owner = owner
        self._ensure_engine = ensure_engine
        self._unload = unload
        self._monitor_workers = monitor_workers
        self._move_finished = move_finished
        self._quiet_until = quiet_until
        self._heartbeat = heartbeat
        self._on_ready = on_ready
        self._wants_reload = wants_reload
        self._is_reloading = False
        self._is_quiet = False
        self._pause_s = 0.0
        self._unrecorded: list[EndedBatch] = []  # they ended without being recorded
        self._waiting: list[WaitingFile] = []  # in order, as the ledger had them
        self._is_stale = True
        self._may_skip_scan = False
        self._read_backoff = Backoff(clock)
        self._scan_schedule = ScanSchedule(
            inboxes,
            folder_watcher=folder_watcher,
            clock=clock,
            rescan_s=policy.rescan_s,
        )
        self._idle_since_s: float | None = None  # None: not noted since the last batch
        self._is_unloaded = False

    def run(self, *, should_stop: Callable[[], bool]) -> StopReason:
        """Work until should_stop, or until drained. Raises EngineUnavailable, LedgerBroken, TryLater.

        As a daemon it waits out what is in the way (TryLater); as a drain it raises it.
        """
        begun_s: float | None = None
        while not should_stop():
            self._heartbeat()
            self._is_reloading = self._is_reloading or self._wants_reload()
            if self._is_reloading and self._dispatcher.wait(0.0):
                return StopReason.RELOAD
            try:
                if begun_s is None:
                    self._start()
                    begun_s = self._clock.monotonic_s()
                wait_s = self._step(
                    patience_over=self._clock.monotonic_s() - begun_s > SETTLE_TIMEOUT_S
                )
                self._pause_s = 0.0
            except RetryLater as error:
                if self._policy.drain:
                    raise
                wait_s = self._back_off(error)
            if wait_s is None:
                return StopReason.DRAINED
            wait_s = min(wait_s, self._unload_in_s())
            self._wait(wait_s, should_stop)
        return self._stop()

    def _start(self) -> None:
        """Take back what a killed process held, look, and get the engine. Raises EngineUnavailable."""
        recovered = self._ledger.recover_claims(now=self._clock.now())
        if recovered:
            log.warning(
                "files that a killed process held are taken back",
                extra={"event": "recovered", "files": recovered},
            )
        self._move_finished()  # before the scan: a move that a kill cut short is no change of the inbox
        self._scan()
        self._ensure_engine()
        self._on_ready()

    def _wait(self, wait_s: float, should_stop: Callable[[], bool]) -> None:
        """Wait for the bell, with a heartbeat now and then."""
        heartbeat_s = self._policy.heartbeat_s or wait_s
        while wait_s > 0 and not should_stop():
            if self._folder_watcher.wait(min(wait_s, heartbeat_s)):
                return
            wait_s -= heartbeat_s
            if wait_s > 0:
                self._heartbeat()

    def _unload_in_s(self) -> float:
        """Unload an engine that had nothing to do for long enough; else the seconds until then."""
        limit_s, now_s = self._policy.idle_unload_s, self._clock.monotonic_s()
        if limit_s is None or self._is_unloaded or not self._dispatcher.is_idle:
            return math.inf
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        left_s = self._idle_since_s + limit_s - now_s
        if left_s > 0:
            return left_s
        self._unload()
        self._is_unloaded = True
        return math.inf

    def _stop(self) -> StopReason:
        """Let the batches under way end at their next window; give back those that take too long.

        What they still want to record is fenced off then: their files are no longer CLAIMED.
        """
        is_over = self._dispatcher.wait(STOP_TIMEOUT_S)
        now = self._clock.now()
        for batch in (*self._unrecorded, *self._dispatcher.ended_batches()):
            if batch.error is not None or batch.has_died:
                self._ledger.release_dead_claims(batch.claim, has_died=batch.has_died, now=now)
        if is_over:
            return StopReason.STOPPED
        for claim in self._dispatcher.active_claims:
            released = self._ledger.release_dead_claims(claim, has_died=False, now=now)
            log.warning(
                "the batch under way did not end in time and is given back",
                extra={"event": "batch_abandoned", "files": released},
            )
        return StopReason.ABANDONED

    def _step(self, *, patience_over: bool) -> float | None:
        """One turn; how long to wait for the next, or None when a drain has nothing left to do."""
        self._release_dead_claims()
        self._monitor_workers()
        is_move_finished = not self._move_finished()
        has_looked = self._scan()
        if self._ledger.requeue_due_retries(now=self._clock.now()):
            self._is_stale = True
        away = {inbox.root for inbox in self._inboxes if inbox.is_unavailable}
        self._publish_leftovers(away)
        unsettled = 0 if patience_over else sum(inbox.unsettled for inbox in self._inboxes)
        waiting = self._waiting_files(away)
        quiet_until = self._check_quiet_hours(waiting)
        if quiet_until is None and not self._is_reloading:
            waiting = self._dispatch(waiting, away, drain=self._policy.drain and not unsettled)
        self._may_skip_scan = (
            self._dispatcher.is_busy
        )  # once it has stood still, a look comes first
        retry_at = self._ledger.next_retry_at()
        is_drained = not waiting and not unsettled and self._dispatcher.is_idle
        soon = self._clock.now() + timedelta(seconds=RETRY_SOON_S)
        if self._policy.drain and is_drained and (retry_at is None or retry_at > soon):
            if self._move_finished():  # what was finished since this step began
                return MIN_WAIT_S
            if has_looked:
                self._raise_if_scan_incomplete()
                return None
            self._scan_schedule.request_full_scan()
        if not is_move_finished:
            return MIN_WAIT_S
        return self._wait_s(waiting, retry_at, quiet_until)

    def _waiting_files(self, away: Collection[Path]) -> list[WaitingFile]:
        """The files that wait for a batch, in order; a long list is read anew only now and then."""
        is_due = self._is_stale and self._read_backoff.is_due and not self._skips_scan()
        if not self._waiting or (is_due and not self._only_appends()):
            with self._read_backoff.measure():
                found = self._ledger.waiting(self._treatment_of)
                self._waiting, self._is_stale = sort_files(found, self._policy.batch), False
        return [w for w in self._waiting if w.file.inbox not in away] if away else self._waiting

    def _only_appends(self) -> bool:
        """Whether a long list only gets longer for now: it is read anew when all that settled is in it."""
        goes_last = self._policy.batch.order == Order.OLDEST
        is_long = len(self._waiting) >= MAX_CANDIDATES
        return goes_last and is_long and self._scan_schedule.has_more

    def _skips_scan(self) -> bool:
        """Whether an engine stands still before many files that are known to wait: they come first."""
        is_deep = len(self._waiting) >= MANY_FILES
        return self._may_skip_scan and is_deep and not self._dispatcher.is_busy

    def _load(self, waiting: Sequence[WaitingFile]) -> Load:
        """What the size of the next batch depends on."""
        return Load(
            realtime_factor=self._ledger.realtime_factor(),
            engines=self._dispatcher.engines,
            backlog_s=sum(item.estimated_audio_s for item in waiting),
            expects_more=any(inbox.unsettled for inbox in self._inboxes),
        )

    def _check_quiet_hours(self, waiting: Sequence[WaitingFile]) -> datetime | None:
        """When the quiet hours end, if they hold now; said once where something waits for that.

        A drain has nothing to wait for. Raises TryLater.
        """
        until = self._quiet_until(self._clock.now())
        if until is not None and waiting:
            text = f"quiet hours until {until:%H:%M}: nothing is begun"
            if self._policy.drain and self._dispatcher.is_idle:
                raise RetryLater(f"{text}; {len(waiting)} files wait (batch.quiet_hours)")
            if not self._is_quiet:
                log.info(text, extra={"event": "quiet_hours", "files": len(waiting)})
        self._is_quiet = until is not None and (self._is_quiet or bool(waiting))
        return until

    def _raise_if_scan_incomplete(self) -> None:
        """A drain that could not see a whole inbox has not drained it. Raises TryLater."""
        problems = [inbox.last.problem for inbox in self._inboxes if inbox.last.problem]
        if problems:
            raise RetryLater("; ".join(problems))

    def _release_dead_claims(self) -> None:
        """Give back what batches held that could not be recorded; raise what was in their way."""
        ended_batches = self._dispatcher.ended_batches()
        self._unrecorded += [
            batch for batch in ended_batches if batch.error is not None or batch.has_died
        ]
        self._is_stale |= (
            bool(ended_batches) and self._policy.batch.max_batch_s is not None
        )  # cut short
        for batch in ended_batches:
            if batch.error is not None:
                raise batch.error
        while self._unrecorded:
            batch = self._unrecorded[0]
            n_files = self._ledger.release_dead_claims(
                batch.claim, has_died=batch.has_died, now=self._clock.now()
            )
            self._unrecorded.remove(batch)
            self._is_stale = True
            if batch.has_died:
                log.warning(
                    "an engine's process died; the files that it worked on are taken back",
                    extra={"event": "recovered", "files": n_files},
                )

    def _scan(self) -> bool:
        """Look at the inboxes, unless batches come first; whether they have been seen whole."""
        if self._skips_scan():
            return False
        n_recorded = self._scan_schedule.n_recorded
        is_whole = self._scan_schedule.scan()
        self._is_stale |= is_whole or self._scan_schedule.n_recorded != n_recorded
        return is_whole

    def _dispatch(
        self, waiting: list[WaitingFile], away: Collection[Path], *, drain: bool
    ) -> list[WaitingFile]:
        """Claim and start batches that should leave while there is room; those that wait on."""
        is_known_anew = False
        while waiting and not self._dispatcher.is_busy:
            left = self._dispatch_first(waiting, drain=drain)
            if left is not None:
                waiting = left
                self._waiting = [item for item in waiting if item.file.inbox not in away]
            elif is_known_anew:
                break
            else:  # others may be READY by now, or what was read before no longer is
                is_known_anew, self._waiting = True, []
                waiting = self._waiting_files(away)
        return waiting

    def _dispatch_first(
        self, waiting: list[WaitingFile], *, drain: bool
    ) -> list[WaitingFile] | None:
        """Claim and start the first batch that should leave; the others wait and get fuller."""
        now_s, load = self._clock.now().timestamp(), self._load(waiting)
        nearest = waiting[:MAX_CANDIDATES]
        batches = form_batches(nearest, self._policy.batch, now_s=now_s, drain=drain, load=load)
        for batch in batches:
            claim = self._ledger.claim(batch, owner=self._owner, now=self._clock.now())
            if claim is not None:
                self._idle_since_s, self._is_unloaded = None, False
                self._dispatcher.dispatch(claim)
                left = {item.file_id for item in batch.files}
                return [item for item in waiting if item.file_id not in left]
        return None

    def _publish_leftovers(self, away: Collection[Path]) -> None:
        """Publish from the ledger what has a result but no file yet, unless a batch is at it.

        What a worker elsewhere is at the ledger does not give.
        """
        if self._dispatcher.engines == 1 and not self._dispatcher.wait(0.0):
            return
        at_it = {f.file_id for claim in self._dispatcher.active_claims for f in claim.batch.files}
        for item in self._ledger.unpublished(self._treatment_of):
            if item.waiting.file.inbox in away or item.waiting.file_id in at_it:
                continue
            if self._files.file_status(item.waiting.file) is FileStatus.SAME:
                self._publish.publish_stored(item)

    def _wait_s(
        self,
        waiting: list[WaitingFile],
        retry_at: datetime | None,
        quiet_until: datetime | None,
    ) -> float:
        """Seconds to the next thing that is due."""
        if self._scan_schedule.has_more:
            return 0.0
        due = [self._scan_schedule.next_s() - self._clock.monotonic_s()]
        if self._policy.monitor_interval_s is not None:
            due.append(self._policy.monitor_interval_s)
        departure_s = next_batch_due_s(waiting, self._policy.batch, load=self._load(waiting))
        if quiet_until is not None:
            due.append((quiet_until - self._clock.now()).total_seconds())
        elif departure_s is not None and not self._dispatcher.is_busy:
            due.append(departure_s - self._clock.now().timestamp())
        if retry_at is not None:
            due.append((retry_at - self._clock.now()).total_seconds())
        return max(MIN_WAIT_S, min(due))

    def _back_off(self, error: RetryLater) -> float:
        """Back off while something around us is in the way; said once per change."""
        if self._pause_s == 0.0:
            log.warning("cannot go on for now", extra={"event": "paused", "reason": str(error)})
        self._pause_s = min(max(PAUSE_FIRST_S, self._pause_s * 2), PAUSE_MAX_S)
        return self._pause_s
