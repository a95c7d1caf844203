"""What breaks, and what must come of it: 20 files, 2 workers, real brokers and a real database."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from tests.scale.conftest import Fleet, child_of

pytestmark = pytest.mark.scale

N = 20
LEASE_S = 8.0


def texts() -> list[str]:
    return [f"recording {number}" for number in range(N)]


def begun(fleet: Fleet, *, n_started: int = 3) -> None:
    """The dispatcher runs, and so many files were started."""
    fleet.start("run")
    fleet.wait(lambda: len(fleet.notes("start")) >= n_started, "the first files")


def check(fleet: Fleet, *, started_again: int) -> None:
    """Everything is there once, and hardly anything was done twice."""
    fleet.wait_done(N)
    assert list(fleet.transcripts().values()) == texts()
    assert not list(fleet.inbox.glob(".*"))  # no temporary file is left
    starts = Counter(text for _, _, text in fleet.notes("start"))
    assert set(starts) == set(texts())
    assert starts.total() - N <= started_again
    published = fleet.query("SELECT count(*) FROM transitions WHERE after = 'DONE'")
    assert published == [(N,)]


def test_nothing_happens_and_all_is_done_once(fleet: Fleet) -> None:
    fleet.put(*texts())
    fleet.workers()
    begun(fleet)
    check(fleet, started_again=0)
    assert len({pid for _, pid, _ in fleet.notes("start")}) == 2
    assert len(fleet.notes("load")) == 2  # one engine for each worker


def test_a_worker_is_killed(fleet: Fleet) -> None:
    fleet.seconds = 0.5
    fleet.put(*texts())
    first, _ = fleet.workers()
    begun(fleet)
    held = {pid: text for _, pid, text in fleet.notes("start")}[child_of(first)]
    os.killpg(first.pid, signal.SIGKILL)
    killed_at = time.time()
    check(fleet, started_again=1)
    again = [at for at, _, text in fleet.notes("start") if text == held]
    if len(again) > 1:
        assert again[1] - killed_at < 60  # the lease, 5 s, and a busy machine


def test_a_workers_child_is_killed(fleet: Fleet) -> None:
    fleet.seconds = 0.5
    fleet.put(*texts())
    first, _ = fleet.workers()
    begun(fleet)
    os.kill(child_of(first), signal.SIGKILL)
    check(fleet, started_again=1)
