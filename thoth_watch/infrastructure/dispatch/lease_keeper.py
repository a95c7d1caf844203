"""A worker's sign of life: a thread that says who lives, and renews the lease of what it works on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thoth_watch.application.ports import Leases, WorkerInfo
from thoth_watch.domain.errors import ThothError

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
TRIES_AGAIN_S = 1.0  # after the ledger did not answer


class LeaseKeeperThread:
    """Beats from `start` to `stop`, on a connection of its own."""

    def __init__(
        self,
        open_leases: Callable[[], Leases],
        worker: WorkerInfo,
        *,
        owner: str,
        lease_s: float,
    ) -> None:
        """open_leases is called in the thread, again and again where it raises TryLater.

        owner: whose leases are renewed.
        """
        self._open_leases = open_leases
        self._worker = worker
        self._owner = owner
        self._lease_s = lease_s
        self._held: int | None = None
        self._lost = threading.Event()
        self._ends = threading.Event()
        self._now = threading.Event()  # beat at once: a batch begins or ends
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """The worker ends on purpose: nobody waits for it."""
        self._ends.set()
        self._now.set()
        self._thread.join(timeout=5.0)

    @contextmanager
    def hold(self, batch_id: int) -> Iterator[Callable[[], bool]]:
        """Renew the lease of a batch that was just taken; gives whether it is lost."""
        self._lost.clear()
        self._held = batch_id
        self._now.set()
        try:
            yield self._lost.is_set
        finally:
            self._held = None
            self._now.set()

    def _run(self) -> None:
        leases: Leases | None = None
        while not self._ends.is_set():
            wait_s = self._lease_s / BEATS_PER_LEASE
            try:
                leases = leases or self._open_leases()
                self._beat(leases)
            except ThothError as error:
                log.warning(
                    "cannot say that this worker lives",
                    extra={"event": "beat_failed", "error": str(error)},
                )
                wait_s = min(wait_s, TRIES_AGAIN_S)
            self._now.wait(wait_s)
            self._now.clear()
        self._say_goodbye(leases)

    def _beat(self, leases: Leases) -> None:
        held = self._held
        leases.record_worker(self._worker, batch_id=held)
        if held is None:
            return
        if leases.renew(held, owner=self._owner, lease_s=self._lease_s):
            return
        if self._held == held:  # and not ended in the meantime
            self._lost.set()
            text = "the lease is lost: the batch is somebody else's"
            log.warning(text, extra={"event": "lease_lost", "batch": held})

    def _say_goodbye(self, leases: Leases | None) -> None:
        try:
            if leases is not None:
                leases.remove_worker(self._worker.name)
        except ThothError:
            log.debug("nobody was told that this worker ends", extra={"event": "beat_failed"})
