"""Dispatch of batches to remote workers: as many at a time as the live workers can use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from thoth_watch.application.ports.dispatch import Leases, OpenBatches
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.errors import RetryLater

log = logging.getLogger(__name__)

RESEND_AFTER_S = 30.0  # the broker may have lost a message that no worker has taken by then
CHECKS_PER_LEASE = 4  # checks for dead workers during one lease


class BatchQueue(Protocol):
    """Carries batch IDs to workers; may lose or duplicate them."""

    def send(self, batch_id: int) -> None:
        """Send a batch ID; never raises."""

    def depth(self) -> int | None:
        """Return the number of messages that no worker has taken; None if it is unknown."""


class FleetDispatcher:
    """Sends batches to workers that share the ledger, and recovers the batches of dead ones."""

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
        """recover_claims releases the files of dead workers and returns how many."""
        self._leases = leases
        self._queue = queue
        self._recover = recover_claims
        self._window_per_worker = window_per_worker
        self._lease_s = lease_s
        self._monotonic_s = monotonic_s
        self._open = OpenBatches()
        self._sent_since_check = 0  # since `_open` was read
        self._n_workers = 0
        self._next_check_s = 0.0
        self._recovery_allowed_at_s = 0.0

    @property
    def engines(self) -> int:
        """Number of live workers, at least 1."""
        return max(1, self._n_workers)

    @property
    def is_busy(self) -> bool:
        """True if as many batches are open as the live workers can use."""
        window = self._window_per_worker * self._n_workers
        return self._open.count + self._sent_since_check >= window

    @property
    def is_idle(self) -> bool:
        """True if no batch is open."""
        return self._open.count + self._sent_since_check == 0

    def monitor_workers(self) -> None:
        """Count live workers, recover the files of dead ones, and resend batches that the broker lost.

        Raises RetryLater if the ledger does not answer. Claims are then recovered only after one
        lease time, since no worker could renew its lease during the outage.
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
            n_files = self._recover()
            if n_files:
                text = "files of a dead worker recovered; they wait for another batch"
                log.warning(text, extra={"event": "recovered", "files": n_files})
                self._open = self._leases.open_batches()
        self._resend_lost()
        self._n_workers = self._leases.count_live_workers(within_s=self._lease_s)

    def _resend_lost(self) -> None:
        """Resend as many of the oldest batches as the broker has lost; workers skip duplicates."""
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
            text = "batches lost by the broker; sent them again"
            log.warning(text, extra={"event": "batches_resent", "batches": len(lost)})

    def dispatch(self, claim: Claim) -> None:
        """Send a batch to the workers."""
        self._leases.send([claim.batch_id])
        self._sent_since_check += 1
        self._queue.send(claim.batch_id)

    @property
    def active_claims(self) -> tuple[Claim, ...]:
        """Always empty: no batch runs in this process."""
        return ()

    def ended_batches(self) -> tuple[()]:
        """Return no batches: none runs in this process."""
        return ()

    def wait(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Return True immediately: the workers continue without this process."""
        return True
