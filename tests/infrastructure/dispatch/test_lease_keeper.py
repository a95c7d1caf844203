from __future__ import annotations

import threading
from typing import Any

import pytest

from thoth_watch.application.ports.dispatch import WorkerInfo
from thoth_watch.domain.errors import RetryLater
from thoth_watch.infrastructure.dispatch import lease_keeper
from thoth_watch.infrastructure.dispatch.lease_keeper import LeaseKeeperThread

TIMEOUT_S = 60.0
WORKER = WorkerInfo("w", "here", 7, "cpu")


class FakeLeases:
    """Records heartbeats and renewals; can simulate an outage and a lost lease."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []
        self.renewed: list[tuple[int, str]] = []
        self.is_held = True
        self.n_failures = 0
        self.removed = threading.Event()
        self.heartbeats = threading.Semaphore(0)

    def record_worker(self, worker: WorkerInfo, *, batch_id: int | None) -> None:
        if self.n_failures > 0:
            self.n_failures -= 1
            raise RetryLater("unreachable")
        self.seen.append(batch_id)
        self.heartbeats.release()

    def renew(self, batch_id: int, *, owner: str, lease_s: float) -> bool:
        self.renewed.append((batch_id, owner))
        return self.is_held

    def remove_worker(self, name: str) -> None:
        self.removed.set()


@pytest.fixture
def leases() -> FakeLeases:
    return FakeLeases()


@pytest.fixture
def keeper(leases: FakeLeases, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(lease_keeper, "RETRY_DELAY_S", 0.01)
    keeper = LeaseKeeperThread(lambda: leases, WORKER, owner="w 1", lease_s=0.04)  # type: ignore[arg-type, return-value]
    keeper.start()
    yield keeper
    keeper.stop()


def wait_for_heartbeats(leases: FakeLeases, n: int) -> None:
    for _ in range(n):
        assert leases.heartbeats.acquire(timeout=TIMEOUT_S)


def test_a_worker_sends_heartbeats_until_it_is_removed_at_its_end(
    keeper: Any, leases: FakeLeases
) -> None:
    wait_for_heartbeats(leases, 2)
    assert set(leases.seen) == {None}
    assert leases.renewed == []
    keeper.stop()
    assert leases.removed.is_set()


def test_the_lease_of_the_current_batch_is_renewed_until_it_ends(
    keeper: Any, leases: FakeLeases
) -> None:
    with keeper.hold(5) as is_lost:
        while len(leases.renewed) < 3:
            wait_for_heartbeats(leases, 1)
        assert not is_lost()
    assert set(leases.renewed) == {(5, "w 1")}
    assert 5 in leases.seen


def test_a_lost_lease_is_reported(keeper: Any, leases: FakeLeases) -> None:
    leases.is_held = False
    with keeper.hold(5) as is_lost:
        assert is_lost.__self__.wait(TIMEOUT_S)
    leases.is_held = True
    with keeper.hold(6) as is_lost:
        wait_for_heartbeats(leases, 3)
        assert not is_lost()


def test_heartbeats_are_retried_after_an_outage_of_the_ledger(
    keeper: Any, leases: FakeLeases
) -> None:
    leases.n_failures = 3
    with keeper.hold(5) as is_lost:
        while not leases.renewed:
            wait_for_heartbeats(leases, 1)
        assert not is_lost()
