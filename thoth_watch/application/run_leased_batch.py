"""Runs a batch on a remote worker: leases it by its id, transcribes it and records the results."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from thoth_watch.application.ports.dispatch import LeaseKeeper, Leases, LeaseTerms
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import Claim, RunLog
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.file_options import FileOptions

log = logging.getLogger(__name__)


class RunLeasedBatch:
    """Runs batches that a dispatcher sent, one at a time."""

    def __init__(
        self,
        *,
        ledger: RunLog,
        leases: Leases,
        keeper: LeaseKeeper,
        transcribe: Callable[..., Any],
        resolve_file_options: Callable[[AudioFile], FileOptions],
        with_local_device_number: Callable[[AudioFile], AudioFile],
        clock: Clock,
        terms: LeaseTerms,
    ) -> None:
        """with_local_device_number: returns the file as this machine sees it, if it is the version that was sent."""
        self._ledger = ledger
        self._leases = leases
        self._keeper = keeper
        self._transcribe = transcribe
        self._resolve_file_options = resolve_file_options
        self._with_local_device_number = with_local_device_number
        self._clock = clock
        self._terms = terms

    def __call__(self, batch_id: int) -> bool:
        """Run the batch; False if another worker has it or it has ended (a message can arrive twice).

        Raises EngineUnavailable if a device failed, RetryLater if the ledger is unreachable.
        """
        claim = self._leases.lease(
            batch_id,
            owner=self._terms.owner,
            lease_s=self._terms.lease_s,
            resolve_file_options=self._resolve_file_options,
        )
        if claim is None:
            log.info(
                "batch already taken or finished; skipping",
                extra={"event": "batch_skipped", "batch": batch_id},
            )
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
        """Release the claim once the ledger is reachable again, unless the lease expires first.

        Without this the files would count a death, although no process died.
        """
        give_up_s = self._clock.monotonic_s() + self._terms.lease_s
        while True:
            try:
                self._ledger.release(claim, now=self._clock.now())
            except RetryLater:
                if self._clock.monotonic_s() > give_up_s:
                    return  # the expired lease is recovered by the dispatcher
                self._clock.sleep(1.0)
            else:
                return
