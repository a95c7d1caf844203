"""What breaks, and what must come of it: 20 files, 2 workers, real brokers and a real database."""

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
    """Files, two workers and the dispatcher, with the first files started."""
    fleet.seconds = 0.5
    fleet.put(*recording_texts())
    fleet.configure(lease_s=LEASE_S)
    fleet.workers()
    fleet.start("run")
    fleet.wait(lambda: len(fleet.log_entries("start")) >= 3, "the first files")
    return fleet


def starts(fleet: Fleet) -> Counter[str]:
    return Counter(text for _, _, text in fleet.log_entries("start"))


def check(fleet: Fleet, *, started_again: int) -> None:
    """Everything is there once, and hardly anything was begun twice."""
    fleet.wait_done(N_FILES)
    assert list(fleet.transcripts().values()) == recording_texts()
    assert not list(fleet.inbox.glob(".*"))  # no temporary file is left
    started = starts(fleet)
    assert set(started) == set(recording_texts())
    assert started.total() - N_FILES <= started_again
    assert fleet.query("SELECT count(*) FROM transitions WHERE after = 'DONE'") == [(N_FILES,)]


def test_nothing_happens_and_all_is_done_once_by_both(running_fleet: Fleet) -> None:
    check(running_fleet, started_again=0)
    assert len({pid for _, pid, _ in running_fleet.log_entries("start")}) == 2
    assert len(running_fleet.log_entries("load")) == 2  # one engine for each worker, kept


def recovery_s(fleet: Fleet) -> float:
    """Seconds from the end of the dead batch's lease until its files were READY again."""
    query = (
        "SELECT extract(epoch FROM min(t.at) - max(b.lease_until)) FROM batches b JOIN transitions t"
        " ON t.claim_no = b.claim_no AND t.before = 'CLAIMED' AND t.after = 'READY'"
        " WHERE b.state = 'DEAD' AND t.at > b.claimed_at"
    )
    return float(fleet.query(query)[0][0])


@pytest.mark.parametrize("whole", [True, False], ids=["worker", "child"])
def test_what_a_killed_process_held_is_done_by_the_others(
    running_fleet: Fleet, *, whole: bool
) -> None:
    victim = running_fleet.processes[0]
    if whole:
        os.killpg(victim.pid, signal.SIGKILL)
    else:
        os.kill(child_of(victim), signal.SIGKILL)
    check(running_fleet, started_again=1)
    assert running_fleet.query("SELECT count(*) FROM batches WHERE state = 'DEAD'") == [(1,)]
    assert recovery_s(running_fleet) <= 5.0


def test_a_worker_that_slept_past_its_lease_is_fenced_off(running_fleet: Fleet) -> None:
    victim = running_fleet.processes[0]
    os.killpg(victim.pid, signal.SIGSTOP)
    dead = "SELECT 1 FROM batches WHERE state = 'DEAD'"
    running_fleet.wait(lambda: bool(running_fleet.query(dead)), "the lease to expire")
    os.killpg(victim.pid, signal.SIGCONT)
    check(running_fleet, started_again=1)
    running_fleet.wait(
        lambda: (
            "lease is lost" in worker_output(running_fleet)
            or "late result" in worker_output(running_fleet)
        ),
        "its insight",
    )


def worker_output(fleet: Fleet) -> str:
    return "".join(path.read_text() for path in fleet.folder.glob("worker*.out"))


def send(broker: Any, *batch_ids: int) -> None:
    from thoth_watch.infrastructure.dispatch.celery_app import RUN_BATCH, create_app

    app = create_app(broker.url)
    for batch_id in batch_ids:
        app.send_task(RUN_BATCH, args=[batch_id])
    app.close()


def test_a_message_that_comes_three_times_is_obeyed_once(running_fleet: Fleet, broker: Any) -> None:
    n_batches = N_FILES // BATCH_FILES
    open_batches = "SELECT count(*) FROM batches WHERE sent_at IS NOT NULL"
    running_fleet.wait(
        lambda: running_fleet.query(open_batches) == [(n_batches,)], "all batches to be sent"
    )
    send(broker, *range(1, n_batches + 1), *range(1, n_batches + 1))
    check(running_fleet, started_again=0)
    skipped = "batch is not to be had"
    running_fleet.wait(
        lambda: worker_output(running_fleet).count(skipped) == 2 * n_batches,
        "the others to be skipped",
    )


def purge_queue(broker: Any) -> None:
    """All messages are gone, as after a flush by mistake."""
    from thoth_watch.infrastructure.dispatch.celery_app import create_app

    if broker.name == "redis":
        import redis

        redis.Redis.from_url(broker.url).flushdb()
        return
    with create_app(broker.url).connection_for_write() as connection:
        connection.default_channel.queue_purge("thoth")


def test_messages_that_the_broker_has_lost_are_sent_again(
    running_fleet: Fleet, broker: Any
) -> None:
    purge_queue(broker)
    check(running_fleet, started_again=0)


def test_broker_and_database_are_restarted(
    running_fleet: Fleet, broker: Any, postgres: Postgres
) -> None:
    broker.restart()
    postgres.restart()
    check(
        running_fleet, started_again=2 * BATCH_FILES
    )  # what was under way when the ledger went away
    assert running_fleet.query("SELECT count(*) FROM files WHERE deaths > 0") == [
        (0,)
    ]  # nobody died


def test_workers_that_are_stopped_leave_nothing_undone_and_nothing_to_be_redone(
    running_fleet: Fleet,
) -> None:
    stopped = running_fleet.processes[:2]
    for worker in stopped:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(120) for worker in stopped] == [0, 0]
    assert (
        len(running_fleet.log_entries("heard")) < N_FILES
    )  # the rest of their batches was given back
    assert running_fleet.query("SELECT count(*) FROM workers") == [(0,)]
    running_fleet.workers(1)
    check(running_fleet, started_again=0)
    assert running_fleet.query("SELECT count(*) FROM files WHERE deaths > 0") == [(0,)]


def test_a_file_that_kills_its_worker_is_quarantined_and_its_companions_are_done(
    fleet: Fleet,
) -> None:
    fleet.put("one", "two", "poison", "four", "five")
    fleet.configure(lease_s=4)
    fleet.workers()
    fleet.start("run")
    fleet.wait(lambda: fleet.states() == {"DONE": 4, "QUARANTINED": 1}, "the end of it")
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
def test_no_more_is_under_way_than_the_workers_can_use(
    fleet: Fleet, broker: Any, n_files: int
) -> None:
    window = 4
    fleet.settings["batch"] = {"max_files": 20, "group_by": []}
    fleet.configure()
    fleet.put(*(f"recording {number}" for number in range(n_files)))
    fleet.workers()
    fleet.start("run")
    depths, most_open = [], 0
    end = time.monotonic() + 0.4 * n_files
    while fleet.states()["DONE"] < n_files and time.monotonic() < end:
        depths.append(depth(broker))
        ((n_open,),) = fleet.query("SELECT count(*) FROM batches WHERE state = 'OPEN'") or [(0,)]
        most_open = max(most_open, n_open)
        time.sleep(0.5)
    assert fleet.states() == {"DONE": n_files}, str(fleet)
    assert max(depths) <= window
    assert 0 < most_open <= window
    assert starts(fleet).total() == n_files


def depth(broker: Any) -> int:
    from thoth_watch.infrastructure.dispatch.celery_app import create_app
    from thoth_watch.infrastructure.dispatch.celery_queue import CeleryQueue

    return CeleryQueue(create_app(broker.url)).depth() or 0
