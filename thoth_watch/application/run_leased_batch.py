"""What a worker does with a batch's number: take the batch under a lease, transcribe it, say so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

from thoth_watch.application.ports import Claim, Clock, Leases, Ledger
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.file_options import FileOptions

log = logging.getLogger(__name__)


class LeaseKeeper(Protocol):
    """Renews a lease in the background."""

    def hold(self, batch_id: int) -> AbstractContextManager[Callable[[], bool]]:
        """Keep the lease of a batch while this is open; what it gives says whether the lease is lost."""


class RunLeasedBatch:
    """Carries out batches that a dispatcher sent, one at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        leases: Leases,
        keeper: LeaseKeeper,
        transcribe: Callable[..., Any],
        resolve_file_options: Callable[[AudioFile], FileOptions],
        with_local_device_number: Callable[[AudioFile], AudioFile],
        clock: Clock,
        sleep: Callable[[float], None],
        owner: str,
        lease_s: float,
    ) -> None:
        """seen_from_here: a file as this machine sees it, where it is the version that was sent."""
        self._ledger = ledger
        self._leases = leases
        self._keeper = keeper
        self._transcribe = transcribe
        self._treatment_of = resolve_file_options
        self._with_local_device_number = with_local_device_number
        self._clock = clock
        self._sleep = sleep
        self._owner = owner
        self._lease_s = lease_s

    def __call__(self, batch_id: int) -> bool:
        """Carry out the batch; False where another worker has it, or it is over: the message came twice.

        Raises EngineUnavailable where a device failed, TryLater where the ledger is out of reach.
        """
        claim = self._leases.lease(
            batch_id,
            owner=self._owner,
            lease_s=self._lease_s,
            resolve_file_options=self._treatment_of,
        )
        if claim is None:
            log.info("batch is not to be had", extra={"event": "batch_skipped", "batch": batch_id})
            return False
        files = tuple(
            replace(item, file=self._with_local_device_number(item.file))
            for item in claim.batch.files
        )
        claim = replace(claim, batch=Batch(files))
        with self._keeper.hold(batch_id) as is_lost:
            try:
                self._transcribe(claim, should_stop=is_lost)
            except RetryLater:
                self._release(claim)
                raise
        return True

    def _release(self, claim: Claim) -> None:
        """As soon as the ledger answers again, and while the lease may hold: nobody died."""
        give_up_s = self._clock.monotonic_s() + self._lease_s
        while True:
            try:
                self._ledger.release(claim, now=self._clock.now())
            except RetryLater:
                if self._clock.monotonic_s() > give_up_s:
                    return  # it expires, and is taken back then
                self._sleep(1.0)
            else:
                return
