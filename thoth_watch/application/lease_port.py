"""The ledger's port for workers elsewhere, who take batches under a lease; its times are the database's."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from thoth_watch.application.ledger_port import Claim
from thoth_watch.domain.audio import AudioFile


@dataclass(frozen=True, slots=True)
class OpenBatches:
    """What is under way elsewhere."""

    sent: tuple[tuple[int, float], ...] = ()  # batch id and seconds since it was sent, oldest first
    leased: int = 0
    expired: int = 0  # of those leased; nobody has taken them back yet

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.sent) + self.leased


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who a worker is."""

    name: str
    host: str
    process_id: int
    device: str  # as asked: auto, cuda:1...


class Leases(Protocol):
    """Every method is one durable transaction.

    A batch is taken by one worker at most, and once. Its claim number fences late writers off: when
    a lease has expired, `Ledger.recover_claims` gives its files to whoever claims them next, under another one.
    """

    def send(self, batch_ids: Collection[int]) -> None:
        """These claimed batches are on their way to a worker (again) from now on."""

    def open_batches(self) -> OpenBatches:
        """What is on its way, and what is worked on."""

    def lease(
        self,
        batch_id: int,
        *,
        owner: str,
        lease_s: float,
        resolve_file_options: Callable[[AudioFile], Any],
    ) -> Claim | None:
        """Take a batch that was sent; None if another worker took it, or it is over."""

    def renew(self, batch_id: int, *, owner: str, lease_s: float) -> bool:
        """Hold it for so long from now on; False if it is no longer ours."""

    def may_transcribe(self, claim: Claim, sha256: str, fingerprint: str) -> bool:
        """Whether no other batch that is open, nor another file of this one, transcribes that sound."""

    def record_worker(self, worker: WorkerInfo, *, batch_id: int | None) -> None:
        """A worker lives, and works on that batch or waits."""

    def remove_worker(self, name: str) -> None:
        """A worker has ended on purpose."""

    def count_live_workers(self, *, within_s: float) -> int:
        """How many were seen within that time."""
