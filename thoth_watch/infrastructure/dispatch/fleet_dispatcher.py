"""Batches carried out by workers elsewhere: as many under way as the workers that live can use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from thoth_watch.application.ports import Claim, Leases, OpenBatches
from thoth_watch.domain.errors import RetryLater

log = logging.getLogger(__name__)

RESEND_AFTER_S = 30.0  # a batch that nobody took for so long may have been lost by the broker
CHECKS_PER_LEASE = 4  # how often what died is looked for


class BatchQueue(Protocol):
    """Carries batches' numbers to workers; may lose them and deliver them twice."""

    def send(self, batch_id: int) -> None:
        """Put a number on its way; never raises."""

    def depth(self) -> int | None:
        """How many nobody has taken yet; None where that cannot be told."""


class FleetDispatcher:
    """Sends batches to workers that share the ledger, and takes back what dead ones held."""

    def __init__(
        self,
        leases: Leases,
        queue: BatchQueue,
        *,
        recover_claims: Callable[[], int],
        window_per_worker: int,
        lease_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """recover: takes back what nobody works on any more; how many files."""
        self._leases = leases
        self._queue = queue
        self._recover = recover_claims
        self._window_per_worker = window_per_worker
        self._lease_s = lease_s
        self._monotonic_s = monotonic_s
        self._open = OpenBatches()
        self._sent_since_check = 0  # since that was looked up
        self._n_workers = 0
        self._next_check_s = 0.0
        self._recovery_allowed_at_s = 0.0

    @property
    def engines(self) -> int:
        """Workers that live."""
        return max(1, self._n_workers)

    @property
    def is_busy(self) -> bool:
        """Whether as many batches are under way as the workers that live can use."""
        window = self._window_per_worker * self._n_workers
        return self._open.count + self._sent_since_check >= window

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way anywhere."""
        return self._open.count + self._sent_since_check == 0

    def monitor_workers(self) -> None:
        """Look after what is elsewhere: who lives, what died, what the broker has lost.

        Raises TryLater where the ledger does not answer; leases are not judged for a while after
        that, since nobody could renew them.
        """
        try:
            self._monitor_workers()
        except RetryLater:
            self._recovery_allowed_at_s = self._monotonic_s() + self._lease_s
            raise

    def _monitor_workers(self) -> None:
        now_s = self._monotonic_s()
        self._open, self._sent_since_check = self._leases.open_batches(), 0
        is_due = now_s >= self._next_check_s or self._open.expired > 0
        if is_due and now_s >= self._recovery_allowed_at_s:
            self._next_check_s = now_s + self._lease_s / CHECKS_PER_LEASE
            taken_back = self._recover()
            if taken_back:
                text = "files that a dead worker held are taken back"
                log.warning(text, extra={"event": "recovered", "files": taken_back})
                self._open = self._leases.open_batches()
        self._resend_lost()
        self._n_workers = self._leases.count_live_workers(within_s=self._lease_s)

    def _resend_lost(self) -> None:
        """Send again as many of the oldest as the broker has lost; one sent twice is skipped."""
        overdue = [batch_id for batch_id, age_s in self._open.sent if age_s >= RESEND_AFTER_S]
        if not overdue:
            return
        depth = self._queue.depth()
        if depth is None:
            return
        lost = overdue[: max(0, len(self._open.sent) - depth)]
        if lost:
            self._leases.send(lost)
            for batch_id in lost:
                self._queue.send(batch_id)
            text = "batches that the broker has lost are sent again"
            log.warning(text, extra={"event": "resent", "batches": len(lost)})

    def dispatch(self, claim: Claim) -> None:
        """Send a batch; from now on it is a worker's."""
        self._leases.send([claim.batch_id])
        self._sent_since_check += 1
        self._queue.send(claim.batch_id)

    @property
    def active_claims(self) -> tuple[Claim, ...]:
        """No batch is this process's own."""
        return ()

    def ended_batches(self) -> tuple[()]:
        """Nor does one end here."""
        return ()

    def wait(self, timeout_s: float) -> bool:  # noqa: ARG002
        """There is nothing here to wait for: workers go on without us."""
        return True
