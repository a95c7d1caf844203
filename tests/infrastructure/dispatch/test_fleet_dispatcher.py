"""Back-pressure, lost messages and dead workers, with a fake ledger and a fake broker."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.fakes import FakeClock
from thoth_watch.application.ports.dispatch import OpenBatches
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import RetryLater
from thoth_watch.infrastructure.dispatch.fleet_dispatcher import RESEND_AFTER_S, FleetDispatcher

LEASE_S = 90.0


@dataclass
class FakeBackend:
    """Ledger and broker in one."""

    open: OpenBatches = field(default_factory=OpenBatches)
    workers: int = 2
    queue_depth: int | None = 0
    marked_sent: list[int] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    recoveries: int = 0
    is_unreachable: bool = False

    def open_batches(self) -> OpenBatches:
        if self.is_unreachable:
            raise RetryLater("unreachable")
        return self.open

    def count_live_workers(self, *, within_s: float) -> int:
        assert within_s == LEASE_S
        return self.workers

    def recover_claims(self) -> int:
        self.recoveries += 1
        self.open = OpenBatches(self.open.sent, self.open.leased - self.open.expired)
        return 1


class FakeLeases:
    def __init__(self, backend: FakeBackend) -> None:
        self.open_batches, self.count_live_workers = (
            backend.open_batches,
            backend.count_live_workers,
        )
        self.send = backend.marked_sent.extend


class FakeQueue:
    def __init__(self, backend: FakeBackend) -> None:
        self.send, self.depth = backend.queued.append, lambda: backend.queue_depth


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(backend: FakeBackend, clock: FakeClock) -> FleetDispatcher:
    return FleetDispatcher(
        FakeLeases(backend),  # type: ignore[arg-type]
        FakeQueue(backend),
        recover_claims=backend.recover_claims,
        window_per_worker=2,
        lease_s=LEASE_S,
        monotonic_s=clock.monotonic_s,
    )


def claim(batch_id: int) -> Claim:
    return Claim(batch_id, 1, Batch(()))


def test_nothing_is_sent_while_no_worker_is_live(
    backend: FakeBackend, fleet: FleetDispatcher
) -> None:
    backend.workers = 0
    fleet.monitor_workers()
    assert fleet.is_busy
    assert fleet.is_idle


def test_only_as_many_batches_are_sent_as_the_workers_can_use(
    backend: FakeBackend, fleet: FleetDispatcher
) -> None:
    backend.open = OpenBatches(leased=2)
    fleet.monitor_workers()
    for batch_id in (1, 2):
        assert not fleet.is_busy
        fleet.dispatch(claim(batch_id))
    assert fleet.is_busy
    assert backend.marked_sent == backend.queued == [1, 2]


def test_a_batch_is_marked_as_sent_before_its_message_is_sent(
    backend: FakeBackend, fleet: FleetDispatcher
) -> None:
    """Otherwise a worker could receive the message before the ledger has the batch as sent."""
    backend.queued = [-1]
    order: list[str] = []
    fleet._leases.send = lambda _: order.append("ledger")  # type: ignore[method-assign]
    fleet._queue.send = lambda _: order.append("broker")  # type: ignore[method-assign]
    fleet.dispatch(claim(1))
    assert order == ["ledger", "broker"]


@pytest.mark.parametrize(
    ("depth", "resent"), [(0, [1, 2]), (1, [1, 2]), (2, [1]), (3, []), (None, [])]
)
def test_only_as_many_batches_are_resent_as_the_broker_has_lost(
    backend: FakeBackend, fleet: FleetDispatcher, depth: int | None, resent: list[int]
) -> None:
    old, new = RESEND_AFTER_S, RESEND_AFTER_S - 1
    backend.open = OpenBatches(sent=((1, old), (2, old), (3, new)))
    backend.queue_depth = depth
    fleet.monitor_workers()
    assert backend.marked_sent == backend.queued == resent


def test_claims_are_recovered_periodically_and_when_a_lease_expires(
    backend: FakeBackend, fleet: FleetDispatcher, clock: FakeClock
) -> None:
    fleet.monitor_workers()
    fleet.monitor_workers()
    assert backend.recoveries == 1
    backend.open = OpenBatches(leased=1, expired=1)
    fleet.monitor_workers()
    assert backend.recoveries == 2
    clock.advance(LEASE_S / 4)
    fleet.monitor_workers()
    assert backend.recoveries == 3


def test_no_claims_are_recovered_right_after_an_outage_of_the_ledger(
    backend: FakeBackend, fleet: FleetDispatcher, clock: FakeClock
) -> None:
    """The workers could not renew their leases during the outage."""
    backend.is_unreachable = True
    with pytest.raises(RetryLater):
        fleet.monitor_workers()
    backend.is_unreachable, backend.open = False, OpenBatches(leased=1, expired=1)
    fleet.monitor_workers()
    assert backend.recoveries == 0
    clock.advance(LEASE_S)
    fleet.monitor_workers()
    assert backend.recoveries == 1


def test_a_stop_does_not_wait_for_workers(backend: FakeBackend, fleet: FleetDispatcher) -> None:
    backend.open = OpenBatches(leased=2)
    fleet.monitor_workers()
    assert not fleet.is_idle
    assert fleet.wait(0.0)
