"""Back-pressure, what was lost, and what died, with a fake ledger and a fake broker."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.fakes import FakeClock
from thoth_watch.application.ports import Claim, OpenBatches
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import RetryLater
from thoth_watch.infrastructure.dispatch.fleet import RESEND_AFTER_S, FleetDispatcher

LEASE_S = 90.0


@dataclass
class Place:
    """Ledger and broker at once."""

    open: OpenBatches = field(default_factory=OpenBatches)
    workers: int = 2
    on_the_wire: int | None = 0
    marked: list[int] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)
    recoveries: int = 0
    is_away: bool = False

    def open_batches(self) -> OpenBatches:
        if self.is_away:
            raise RetryLater("away")
        return self.open

    def count_live_workers(self, *, within_s: float) -> int:
        assert within_s == LEASE_S
        return self.workers

    def recover_claims(self) -> int:
        self.recoveries += 1
        self.open = OpenBatches(self.open.sent, self.open.leased - self.open.expired)
        return 1


class OfLedger:
    def __init__(self, place: Place) -> None:
        self.open_batches, self.count_live_workers = place.open_batches, place.count_live_workers
        self.send = place.marked.extend


class OfBroker:
    def __init__(self, place: Place) -> None:
        self.send, self.depth = place.carried.append, lambda: place.on_the_wire


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(place: Place, clock: FakeClock) -> FleetDispatcher:
    return FleetDispatcher(
        OfLedger(place),  # type: ignore[arg-type]
        OfBroker(place),
        recover_claims=place.recover_claims,
        window_per_worker=2,
        lease_s=LEASE_S,
        monotonic_s=clock.monotonic_s,
    )


def claim(batch_id: int) -> Claim:
    return Claim(batch_id, 1, Batch(()))


def test_nothing_is_sent_while_nobody_lives(place: Place, fleet: FleetDispatcher) -> None:
    place.workers = 0
    fleet.monitor_workers()
    assert fleet.is_busy
    assert fleet.is_idle


def test_as_much_is_sent_as_the_workers_can_use(place: Place, fleet: FleetDispatcher) -> None:
    place.open = OpenBatches(leased=2)
    fleet.monitor_workers()
    for batch_id in (1, 2):
        assert not fleet.is_busy
        fleet.dispatch(claim(batch_id))
    assert fleet.is_busy
    assert place.marked == place.carried == [1, 2]


def test_a_batch_is_marked_before_it_leaves(place: Place, fleet: FleetDispatcher) -> None:
    """Else a worker could find it before it is there."""
    place.carried = [-1]
    order: list[str] = []
    fleet._leases.send = lambda _: order.append("ledger")  # type: ignore[method-assign]
    fleet._wire.send = lambda _: order.append("broker")  # type: ignore[method-assign]
    fleet.dispatch(claim(1))
    assert order == ["ledger", "broker"]


@pytest.mark.parametrize(
    ("depth", "resent"), [(0, [1, 2]), (1, [1, 2]), (2, [1]), (3, []), (None, [])]
)
def test_as_many_are_sent_again_as_the_broker_has_lost(
    place: Place, fleet: FleetDispatcher, depth: int | None, resent: list[int]
) -> None:
    old, new = RESEND_AFTER_S, RESEND_AFTER_S - 1
    place.open = OpenBatches(sent=((1, old), (2, old), (3, new)))
    place.on_the_wire = depth
    fleet.monitor_workers()
    assert place.marked == place.carried == resent


def test_the_dead_are_looked_for_now_and_then_and_when_a_lease_is_over(
    place: Place, fleet: FleetDispatcher, clock: FakeClock
) -> None:
    fleet.monitor_workers()
    fleet.monitor_workers()
    assert place.recoveries == 1
    place.open = OpenBatches(leased=1, expired=1)
    fleet.monitor_workers()
    assert place.recoveries == 2
    clock.advance(LEASE_S / 4)
    fleet.monitor_workers()
    assert place.recoveries == 3


def test_leases_are_not_judged_right_after_the_ledger_was_away(
    place: Place, fleet: FleetDispatcher, clock: FakeClock
) -> None:
    """Nobody could renew them."""
    place.is_away = True
    with pytest.raises(RetryLater):
        fleet.monitor_workers()
    place.is_away, place.open = False, OpenBatches(leased=1, expired=1)
    fleet.monitor_workers()
    assert place.recoveries == 0
    clock.advance(LEASE_S)
    fleet.monitor_workers()
    assert place.recoveries == 1


def test_a_stop_waits_for_nobody(place: Place, fleet: FleetDispatcher) -> None:
    place.open = OpenBatches(leased=2)
    fleet.monitor_workers()
    assert not fleet.is_idle
    assert fleet.wait(0.0)
