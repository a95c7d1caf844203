"""Heartbeat of a worker: a thread that records it in the ledger and renews the lease of its batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thoth_watch.application.ports.dispatch import Leases, WorkerInfo
from thoth_watch.domain.errors import ThothError

log = logging.getLogger(__name__)

HEARTBEATS_PER_LEASE = 4
RETRY_DELAY_S = 1.0  # after the ledger did not answer


class LeaseKeeperThread:
    """Sends heartbeats from `start` to `stop`, on its own ledger connection."""

    def __init__(
        self,
        open_leases: Callable[[], Leases],
        worker: WorkerInfo,
        *,
        owner: str,
        lease_s: float,
    ) -> None:
        """open_leases is called in the thread, repeatedly while it raises RetryLater.

        owner: the owner of the leases to renew.
        """
        self._open_leases = open_leases
        self._worker = worker
        self._owner = owner
        self._lease_s = lease_s
        self._batch_id: int | None = None
        self._lost_event = threading.Event()
        self._stop_event = threading.Event()
        self._wake_event = threading.Event()  # send a heartbeat now: a batch starts or ends
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Start sending heartbeats."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and remove the worker from the ledger, so that no dispatcher counts on it."""
        self._stop_event.set()
        self._wake_event.set()
        self._thread.join(timeout=5.0)

    @contextmanager
    def hold(self, batch_id: int) -> Iterator[Callable[[], bool]]:
        """Renew the lease of a batch; yield a function that returns True if the lease is lost."""
        self._lost_event.clear()
        self._batch_id = batch_id
        self._wake_event.set()
        try:
            yield self._lost_event.is_set
        finally:
            self._batch_id = None
            self._wake_event.set()

    def _run(self) -> None:
        leases: Leases | None = None
        while not self._stop_event.is_set():
            wait_s = self._lease_s / HEARTBEATS_PER_LEASE
            try:
                leases = leases or self._open_leases()
                self._send_heartbeat(leases)
            except ThothError as error:
                text = "heartbeat failed; retrying it"
                log.warning(text, extra={"event": "heartbeat_failed", "error": str(error)})
                wait_s = min(wait_s, RETRY_DELAY_S)
            self._wake_event.wait(wait_s)
            self._wake_event.clear()
        self._deregister(leases)

    def _send_heartbeat(self, leases: Leases) -> None:
        held = self._batch_id
        leases.record_worker(self._worker, batch_id=held)
        if held is None:
            return
        if leases.renew(held, owner=self._owner, lease_s=self._lease_s):
            return
        if self._batch_id == held:  # and not ended in the meantime
            self._lost_event.set()
            text = "lease lost; leaving the batch to another worker"
            log.warning(text, extra={"event": "lease_lost", "batch": held})

    def _deregister(self, leases: Leases | None) -> None:
        try:
            if leases is not None:
                leases.remove_worker(self._worker.name)
        except ThothError:
            text = "cannot remove this worker from the ledger; its row expires"
            log.debug(text, extra={"event": "heartbeat_failed"})
