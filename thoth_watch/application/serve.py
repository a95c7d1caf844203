"""The main loop of `run` and `once`: scan, form batches, claim and dispatch them, wait for events."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from thoth_watch.application.ports.dispatch import Dispatcher, EndedBatch
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import BatchQueue
from thoth_watch.application.ports.service import Service
from thoth_watch.application.publish_unchanged import PublishUnchanged
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.waiting_list import MAX_CANDIDATES, WaitingList
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import (
    BatchPolicy,
    Load,
    WaitingFile,
    form_batches,
    next_batch_due_s,
)
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.file_options import FileOptions

log = logging.getLogger(__name__)

RETRY_SOON_S = 5.0  # `once` waits for retries that are due within this time
SETTLE_TIMEOUT_S = 600.0  # longest wait of `once` for files that keep changing
PAUSE_FIRST_S, PAUSE_MAX_S = 5.0, 300.0  # after a temporary error, doubled up to the maximum
MIN_WAIT_S = 0.05
STOP_TIMEOUT_S = 6.0  # leaves time for cleanup within a stop timeout of ten seconds


class StopReason(StrEnum):
    """The reason why the main loop ended."""

    DRAINED = "drained"
    STOPPED = "stopped"
    RELOAD = "reload"  # a changed configuration is to be loaded
    ABANDONED = "abandoned"  # stopped, but a running batch did not end in time


@dataclass(frozen=True, slots=True)
class ServePolicy:
    """Settings of the main loop."""

    batch: BatchPolicy
    owner: str  # names this process in its claims
    drain: bool = False  # end when no work is left
    heartbeat_s: float | None = None  # longest time between calls of `heartbeat`
    idle_unload_s: float | None = None  # idle time after which `unload` is called
    monitor_interval_s: float | None = None  # longest time between calls of `monitor_workers`


class Serve:
    """Watches inboxes and dispatches batches until it is stopped or, as a drain, no work is left."""

    def __init__(
        self,
        *,
        scan_schedule: ScanSchedule,
        ledger: BatchQueue,
        dispatcher: Dispatcher,
        publish: PublishUnchanged,
        resolve_file_options: Callable[[AudioFile], FileOptions],
        service: Service,
        clock: Clock,
        policy: ServePolicy,
    ) -> None:
        self._scan_schedule = scan_schedule
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._publish = publish
        self._resolve_file_options = resolve_file_options
        self._service = service
        self._clock = clock
        self._policy = policy
        self._is_reloading = False
        self._is_quiet = False
        self._pause_s = 0.0
        self._unrecorded: list[EndedBatch] = []  # their claims are not released yet
        self._waiting_list = WaitingList(
            ledger,
            scan_schedule=scan_schedule,
            dispatcher=dispatcher,
            resolve_file_options=resolve_file_options,
            policy=policy.batch,
            clock=clock,
        )
        self._idle_since_s: float | None = None  # None: busy, or not checked since the last batch
        self._is_unloaded = False

    def run(self, *, should_stop: Callable[[], bool]) -> StopReason:
        """Run until should_stop returns True or, as a drain, until no work is left.

        Raises EngineUnavailable and LedgerBroken. A daemon waits after RetryLater and continues; a
        drain raises it.
        """
        begun_s: float | None = None
        while not should_stop():
            self._service.heartbeat()
            self._is_reloading = self._is_reloading or self._service.wants_reload()
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
        """Release the files of a killed process, scan, and load the engine. Raises EngineUnavailable."""
        recovered = self._ledger.recover_claims(now=self._clock.now())
        if recovered:
            log.warning(
                "files of a killed process released; they are transcribed again",
                extra={"event": "recovered", "files": recovered},
            )
        self._service.move_finished()  # before the scan: it must not see an interrupted move as a change
        self._waiting_list.scan()
        self._service.ensure_engine()
        self._service.on_ready()

    def _wait(self, wait_s: float, should_stop: Callable[[], bool]) -> None:
        """Wait for an event or the timeout, with heartbeats in between."""
        heartbeat_s = self._policy.heartbeat_s or wait_s
        while wait_s > 0 and not should_stop():
            if self._scan_schedule.wait(min(wait_s, heartbeat_s)):
                return
            wait_s -= heartbeat_s
            if wait_s > 0:
                self._service.heartbeat()

    def _unload_in_s(self) -> float:
        """Unload an engine that was idle for long enough; return the seconds until it is due."""
        limit_s, now_s = self._policy.idle_unload_s, self._clock.monotonic_s()
        if limit_s is None or self._is_unloaded or not self._dispatcher.is_idle:
            return math.inf
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        remaining_s = self._idle_since_s + limit_s - now_s
        if remaining_s > 0:
            return remaining_s
        self._service.unload()
        self._is_unloaded = True
        return math.inf

    def _stop(self) -> StopReason:
        """Wait for the running batches to end at their next window; release those that take too long.

        Late writes of a released batch are rejected, because its files are no longer CLAIMED.
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
                "the running batch did not stop in time; its files were released",
                extra={"event": "batch_abandoned", "files": released},
            )
        return StopReason.ABANDONED

    def _step(self, *, patience_over: bool) -> float | None:
        """Run one iteration; return the seconds until the next, or None when a drain has finished."""
        self._release_dead_claims()
        self._service.monitor_workers()
        is_move_finished = not self._service.move_finished()
        is_full_scan = self._waiting_list.scan()
        if self._ledger.requeue_due_retries(now=self._clock.now()):
            self._waiting_list.mark_outdated()
        unavailable = self._scan_schedule.unavailable
        self._publish_leftovers(unavailable)
        unsettled = 0 if patience_over else self._scan_schedule.n_unsettled
        waiting = self._waiting_list.files(unavailable=unavailable)
        quiet_until = self._check_quiet_hours(waiting)
        if quiet_until is None and not self._is_reloading:
            waiting = self._dispatch(
                waiting, unavailable, drain=self._policy.drain and not unsettled
            )
        self._waiting_list.end_step()
        retry_at = self._ledger.next_retry_at()
        is_drained = not waiting and not unsettled and self._dispatcher.is_idle
        soon = self._clock.now() + timedelta(seconds=RETRY_SOON_S)
        if self._policy.drain and is_drained and (retry_at is None or retry_at > soon):
            if self._service.move_finished():  # recordings finished during this step
                return MIN_WAIT_S
            if is_full_scan:
                self._scan_schedule.raise_if_incomplete()
                return None
            self._scan_schedule.request_full_scan()
        if not is_move_finished:
            return MIN_WAIT_S
        return self._wait_s(waiting, retry_at, quiet_until)

    def _load(self, waiting: Sequence[WaitingFile]) -> Load:
        """Return the load figures that determine the size of the next batch."""
        return Load(
            realtime_factor=self._ledger.realtime_factor(),
            engines=self._dispatcher.engines,
            backlog_s=sum(item.estimated_audio_s for item in waiting),
            expects_more=self._scan_schedule.n_unsettled > 0,
        )

    def _check_quiet_hours(self, waiting: Sequence[WaitingFile]) -> datetime | None:
        """Return the end of the current quiet hours, if any; log it once if files are waiting.

        A drain does not wait for their end: it raises RetryLater.
        """
        until = self._service.quiet_until(self._clock.now())
        if until is not None and waiting:
            text = f"quiet hours until {until:%H:%M}; no batch starts before then"
            if self._policy.drain and self._dispatcher.is_idle:
                raise RetryLater(f"{text}; {len(waiting)} files wait (batch.quiet_hours)")
            if not self._is_quiet:
                log.info(text, extra={"event": "quiet_hours", "files": len(waiting)})
        self._is_quiet = until is not None and (self._is_quiet or bool(waiting))
        return until

    def _release_dead_claims(self) -> None:
        """Release the files of batches that could not be recorded; raise the error of such a batch first."""
        ended_batches = self._dispatcher.ended_batches()
        self._unrecorded += [
            batch for batch in ended_batches if batch.error is not None or batch.has_died
        ]
        may_have_released = self._policy.batch.max_batch_s is not None  # ended by its time limit
        if ended_batches and may_have_released:
            self._waiting_list.mark_outdated()
        for batch in ended_batches:
            if batch.error is not None:
                raise batch.error
        while self._unrecorded:
            batch = self._unrecorded[0]
            n_files = self._ledger.release_dead_claims(
                batch.claim, has_died=batch.has_died, now=self._clock.now()
            )
            self._unrecorded.remove(batch)
            self._waiting_list.mark_outdated()
            if batch.has_died:
                log.warning(
                    "an engine process died; its files were released and are transcribed again",
                    extra={"event": "recovered", "files": n_files},
                )

    def _dispatch(
        self, waiting: list[WaitingFile], unavailable: Collection[Path], *, drain: bool
    ) -> list[WaitingFile]:
        """Claim and start the batches that are due, as capacity allows; return the files still waiting."""
        was_read_again = False
        while waiting and not self._dispatcher.is_busy:
            remaining = self._dispatch_first(waiting, drain=drain)
            if remaining is not None:
                waiting = remaining
                self._waiting_list.keep(waiting)
            elif was_read_again:
                break
            else:  # the list is outdated: more files may be READY, or fewer
                was_read_again = True
                waiting = self._waiting_list.read_again(unavailable=unavailable)
        return waiting

    def _dispatch_first(
        self, waiting: list[WaitingFile], *, drain: bool
    ) -> list[WaitingFile] | None:
        """Claim and start the first due batch; return the remaining files, None if no batch was started."""
        now_s, load = self._clock.now().timestamp(), self._load(waiting)
        nearest = waiting[:MAX_CANDIDATES]
        batches = form_batches(nearest, self._policy.batch, now_s=now_s, drain=drain, load=load)
        for batch in batches:
            claim = self._ledger.claim(batch, owner=self._policy.owner, now=self._clock.now())
            if claim is not None:
                self._idle_since_s, self._is_unloaded = None, False
                self._dispatcher.dispatch(claim)
                dispatched = {item.file_id for item in batch.files}
                return [item for item in waiting if item.file_id not in dispatched]
        return None

    def _publish_leftovers(self, unavailable: Collection[Path]) -> None:
        """Publish RESULT files from the ledger, except those of running batches.

        The ledger does not return files that a remote worker holds.
        """
        if self._dispatcher.engines == 1 and not self._dispatcher.wait(0.0):
            return
        active_ids = {
            item.file_id for claim in self._dispatcher.active_claims for item in claim.batch.files
        }
        self._publish.leftovers(
            self._resolve_file_options,
            is_due=lambda item: (
                item.file.inbox not in unavailable and item.file_id not in active_ids
            ),
        )

    def _wait_s(
        self,
        waiting: list[WaitingFile],
        retry_at: datetime | None,
        quiet_until: datetime | None,
    ) -> float:
        """Return the seconds until the next scan, batch, retry or other task is due."""
        if self._scan_schedule.has_more:
            return 0.0
        due = [self._scan_schedule.next_s() - self._clock.monotonic_s()]
        if self._policy.monitor_interval_s is not None:
            due.append(self._policy.monitor_interval_s)
        batch_due_s = next_batch_due_s(waiting, self._policy.batch, load=self._load(waiting))
        if quiet_until is not None:
            due.append((quiet_until - self._clock.now()).total_seconds())
        elif batch_due_s is not None and not self._dispatcher.is_busy:
            due.append(batch_due_s - self._clock.now().timestamp())
        if retry_at is not None:
            due.append((retry_at - self._clock.now()).total_seconds())
        return max(MIN_WAIT_S, min(due))

    def _back_off(self, error: RetryLater) -> float:
        """Return the pause after a temporary error, which doubles each time; log only the first of a series."""
        if self._pause_s == 0.0:
            log.warning(
                "pausing; trying again later", extra={"event": "paused", "reason": str(error)}
            )
        self._pause_s = min(max(PAUSE_FIRST_S, self._pause_s * 2), PAUSE_MAX_S)
        return self._pause_s
