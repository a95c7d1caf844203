"""Faults of processes and servers, and recovery: 20 files, 2 workers, real brokers and a real database."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.scale.conftest import Fleet, child_of
from tests.servers import Postgres

pytestmark = pytest.mark.scale

N_FILES = 20
BATCH_FILES = 5
LEASE_S = 8.0


def recording_texts() -> list[str]:
    return [f"recording {number}" for number in range(N_FILES)]


@pytest.fixture
def running_fleet(fleet: Fleet) -> Fleet:
    """Return a fleet with files, two workers and a dispatcher, after its first files were started."""
    fleet.seconds = 0.5
    fleet.put(*recording_texts())
    fleet.configure(lease_s=LEASE_S)
    fleet.workers()
    fleet.start("run")
    fleet.wait(lambda: len(fleet.log_entries("start")) >= 3, "the first files")
    return fleet


def starts(fleet: Fleet) -> Counter[str]:
    return Counter(text for _, _, text in fleet.log_entries("start"))


def check(fleet: Fleet, *, max_restarted: int) -> None:
    """Check that each file is done once, with at most `max_restarted` repeated starts."""
    fleet.wait_done(N_FILES)
    assert list(fleet.transcripts().values()) == recording_texts()
    assert not list(fleet.inbox.glob(".*"))  # no temporary file is left
    started = starts(fleet)
    assert set(started) == set(recording_texts())
    assert started.total() - N_FILES <= max_restarted
    assert fleet.query("SELECT count(*) FROM transitions WHERE after = 'DONE'") == [(N_FILES,)]


def test_without_faults_two_workers_do_each_file_once(running_fleet: Fleet) -> None:
    check(running_fleet, max_restarted=0)
    assert len({pid for _, pid, _ in running_fleet.log_entries("start")}) == 2
    assert len(running_fleet.log_entries("load")) == 2  # each worker loads its engine once


def recovery_s(fleet: Fleet) -> float:
    """Return the seconds from the end of the dead batch's lease until its files were READY again."""
    query = (
        "SELECT extract(epoch FROM min(t.at) - max(b.lease_until)) FROM batches b JOIN transitions t"
        " ON t.claim_no = b.claim_no AND t.before = 'CLAIMED' AND t.after = 'READY'"
        " WHERE b.state = 'DEAD' AND t.at > b.claimed_at"
    )
    return float(fleet.query(query)[0][0])


@pytest.mark.parametrize("kill_group", [True, False], ids=["worker", "child"])
def test_files_of_a_killed_process_are_done_by_others(
    running_fleet: Fleet, *, kill_group: bool
) -> None:
    victim = running_fleet.processes[0]
    if kill_group:
        os.killpg(victim.pid, signal.SIGKILL)
    else:
        os.kill(child_of(victim), signal.SIGKILL)
    check(running_fleet, max_restarted=1)
    assert running_fleet.query("SELECT count(*) FROM batches WHERE state = 'DEAD'") == [(1,)]
    assert recovery_s(running_fleet) <= 5.0


def test_a_worker_that_was_suspended_beyond_its_lease_is_fenced_off(running_fleet: Fleet) -> None:
    victim = running_fleet.processes[0]
    os.killpg(victim.pid, signal.SIGSTOP)
    dead = "SELECT 1 FROM batches WHERE state = 'DEAD'"
    running_fleet.wait(lambda: bool(running_fleet.query(dead)), "the lease to expire")
    os.killpg(victim.pid, signal.SIGCONT)
    check(running_fleet, max_restarted=1)
    running_fleet.wait(
        lambda: (
            "lease lost" in worker_output(running_fleet)
            or "stale result" in worker_output(running_fleet)
        ),
        "the worker to notice the lost lease",
    )


def worker_output(fleet: Fleet) -> str:
    return "".join(path.read_text() for path in fleet.folder.glob("worker*.out"))


def send(broker: Any, *batch_ids: int) -> None:
    from thoth_watch.infrastructure.dispatch.celery_app import RUN_BATCH, create_app

    app = create_app(broker.url)
    for batch_id in batch_ids:
        app.send_task(RUN_BATCH, args=[batch_id])
    app.close()


def test_a_message_that_is_delivered_three_times_runs_its_batch_once(
    running_fleet: Fleet, broker: Any
) -> None:
    n_batches = N_FILES // BATCH_FILES
    open_batches = "SELECT count(*) FROM batches WHERE sent_at IS NOT NULL"
    running_fleet.wait(
        lambda: running_fleet.query(open_batches) == [(n_batches,)], "all batches to be sent"
    )
    send(broker, *range(1, n_batches + 1), *range(1, n_batches + 1))
    check(running_fleet, max_restarted=0)
    skipped = "batch already taken or finished"
    running_fleet.wait(
        lambda: worker_output(running_fleet).count(skipped) == 2 * n_batches,
        "the duplicates to be skipped",
    )


def purge_queue(broker: Any) -> None:
    """Delete all messages, as an accidental flush does."""
    from thoth_watch.infrastructure.dispatch.celery_app import create_app

    if broker.name == "redis":
        import redis

        redis.Redis.from_url(broker.url).flushdb()
        return
    with create_app(broker.url).connection_for_write() as connection:
        connection.default_channel.queue_purge("thoth")


def test_messages_that_the_broker_lost_are_sent_again(running_fleet: Fleet, broker: Any) -> None:
    purge_queue(broker)
    check(running_fleet, max_restarted=0)


def test_restarts_of_broker_and_database_lose_nothing(
    running_fleet: Fleet, broker: Any, postgres: Postgres
) -> None:
    broker.restart()
    postgres.restart()
    # the two batches in progress while the database is away may start again
    check(running_fleet, max_restarted=2 * BATCH_FILES)
    # no worker counts as dead
    assert running_fleet.query("SELECT count(*) FROM files WHERE deaths > 0") == [(0,)]


def test_stopped_workers_release_their_files_and_nothing_is_repeated(
    running_fleet: Fleet,
) -> None:
    stopped = running_fleet.processes[:2]
    for worker in stopped:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(120) for worker in stopped] == [0, 0]
    # the workers released the rest of their batches
    assert len(running_fleet.log_entries("transcribed")) < N_FILES
    assert running_fleet.query("SELECT count(*) FROM workers") == [(0,)]
    running_fleet.workers(1)
    check(running_fleet, max_restarted=0)
    assert running_fleet.query("SELECT count(*) FROM files WHERE deaths > 0") == [(0,)]


def test_a_file_that_kills_its_worker_is_quarantined_and_the_others_are_done(
    fleet: Fleet,
) -> None:
    fleet.put("one", "two", "poison", "four", "five")
    fleet.configure(lease_s=4)
    fleet.workers()
    fleet.start("run")
    fleet.wait(
        lambda: fleet.states() == {"DONE": 4, "QUARANTINED": 1},
        "four files done and one quarantined",
    )
    assert sorted(fleet.transcripts().values()) == ["five", "four", "one", "two"]
    assert len(fleet.log_entries("death")) <= 3
    ((reason,),) = fleet.query("SELECT reason FROM files WHERE state = 'QUARANTINED'")
    assert reason == "the program died 3 times while processing this file"


def test_two_copies_of_a_recording_are_transcribed_once(fleet: Fleet) -> None:
    fleet.seconds = 1.0
    fleet.settings["batch"] = {"max_files": 1, "group_by": []}
    fleet.configure()
    fleet.put("the same", "the same")
    fleet.workers()
    fleet.start("run")
    fleet.wait_done(2)
    assert starts(fleet) == {"the same": 1}
    assert list(fleet.transcripts().values()) == ["the same", "the same"]


@pytest.mark.timeout(5000)
@pytest.mark.parametrize("n_files", [1000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_the_number_of_open_batches_and_messages_is_limited(
    fleet: Fleet, broker: Any, n_files: int
) -> None:
    window = 4
    fleet.settings["batch"] = {"max_files": 20, "group_by": []}
    fleet.configure()
    fleet.put(*(f"recording {number}" for number in range(n_files)))
    fleet.workers()
    fleet.start("run")
    depths, max_open = [], 0
    end = time.monotonic() + 0.4 * n_files
    while fleet.states()["DONE"] < n_files and time.monotonic() < end:
        depths.append(depth(broker))
        ((n_open,),) = fleet.query("SELECT count(*) FROM batches WHERE state = 'OPEN'") or [(0,)]
        max_open = max(max_open, n_open)
        time.sleep(0.5)
    assert fleet.states() == {"DONE": n_files}, str(fleet)
    assert max(depths) <= window
    assert 0 < max_open <= window
    assert starts(fleet).total() == n_files


def depth(broker: Any) -> int:
    from thoth_watch.infrastructure.dispatch.celery_app import create_app
    from thoth_watch.infrastructure.dispatch.celery_queue import CeleryQueue

    return CeleryQueue(create_app(broker.url)).depth() or 0
