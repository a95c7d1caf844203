"""The ledger's port for remote workers, which lease batches. All times are those of the database's clock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from thoth_watch.application.ledger_port import Claim
from thoth_watch.domain.audio import AudioFile


@dataclass(frozen=True, slots=True)
class OpenBatches:
    """The batches that were sent to remote workers and have not ended."""

    sent: tuple[tuple[int, float], ...] = ()  # batch id, seconds since it was sent; oldest first
    leased: int = 0
    expired: int = 0  # leased batches whose lease has expired and that were not recovered yet

    @property
    def count(self) -> int:
        """Return the number of open batches."""
        return len(self.sent) + self.leased


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The identity of a worker process."""

    name: str
    host: str
    process_id: int
    device: str  # as requested: auto, cuda:1...


class Leases(Protocol):
    """Every method is one durable transaction.

    A batch is leased by at most one worker, and once. When a lease has expired,
    `Ledger.recover_claims` makes its files READY; the next claim has a higher claim number, so that
    writes of the old worker are rejected (fencing).
    """

    def send(self, batch_ids: Collection[int]) -> None:
        """Mark these claimed batches as sent to a worker now, for the first time or again."""

    def open_batches(self) -> OpenBatches:
        """Return the batches that were sent and those that are leased."""

    def lease(
        self,
        batch_id: int,
        *,
        owner: str,
        lease_s: float,
        resolve_file_options: Callable[[AudioFile], Any],
    ) -> Claim | None:
        """Lease a batch that was sent; None if another worker leased it or it has ended."""

    def renew(self, batch_id: int, *, owner: str, lease_s: float) -> bool:
        """Extend the lease to `lease_s` from now; False if this owner no longer holds it."""

    def may_transcribe(self, claim: Claim, sha256: str, fingerprint: str) -> bool:
        """Return True unless another open batch, or another file of this one, is transcribing the same audio."""

    def record_worker(self, worker: WorkerInfo, *, batch_id: int | None) -> None:
        """Record that a worker is alive, with its current batch or None if it is idle."""

    def remove_worker(self, name: str) -> None:
        """Remove the record of a worker that shut down normally."""

    def count_live_workers(self, *, within_s: float) -> int:
        """Return the number of workers that reported within the last `within_s`."""
