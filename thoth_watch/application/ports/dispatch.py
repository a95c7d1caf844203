"""The ports of running batches: in this process, in others, and on other machines under a lease."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.audio import AudioFile


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch that has ended: recorded, or with the error that prevented it."""

    claim: Claim
    error: Exception | None = None  # RetryLater, LedgerBroken, EngineUnavailable
    has_died: bool = False  # the process that worked on it has died


class Dispatcher(Protocol):
    """Runs claimed batches, one or more at a time."""

    @property
    def engines(self) -> int:
        """Return the number of batches that run concurrently."""

    @property
    def active_claims(self) -> Sequence[Claim]:
        """Return the running batches, and those not yet returned by `ended_batches`, oldest first."""

    @property
    def is_busy(self) -> bool:
        """Return True if no further batch can be dispatched now."""

    @property
    def is_idle(self) -> bool:
        """Return True if no batch is running."""

    def dispatch(self, claim: Claim) -> None:
        """Start a batch; the folder watcher is woken when it has ended."""

    def ended_batches(self) -> Sequence[EndedBatch]:
        """Return the batches that ended since the last call."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until no batch runs in this process; False if `timeout_s` passes first."""


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


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """The holder of a worker's leases and their duration."""

    owner: str
    lease_s: float


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


class LeaseKeeper(Protocol):
    """Renews a lease in the background."""

    def hold(self, batch_id: int) -> AbstractContextManager[Callable[[], bool]]:
        """Renew the lease of a batch inside the `with`; yields a function that returns True once it is lost."""
