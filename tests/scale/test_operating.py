"""Status, checks and conflicting processes while a fleet runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scale.conftest import Fleet
from tests.servers import Redis, free_port, require

pytestmark = pytest.mark.scale


@pytest.fixture
def fleet(tmp_path: Path, redis: Redis, new_postgres_ledger: Callable[[], str]) -> Iterator[Fleet]:
    require(modules=("celery", "psycopg"))
    created = Fleet(tmp_path / "fleet", redis.url, new_postgres_ledger())
    created.configure()
    yield created
    created.close()


def run(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.scale.program", *arguments, "-c", str(fleet.config)],
        env={**os.environ, "THOTH_TEST_LOG": str(fleet.log)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_shows_the_batch_of_each_worker_and_the_queue(fleet: Fleet) -> None:
    fleet.seconds = 1000.0
    fleet.put(*(f"recording {number}" for number in range(40)))
    text = run(fleet, "status").stdout
    assert "no dispatcher is running" in text
    assert "none; start one with `thoth-watch worker`" in text
    fleet.workers()
    fleet.start("run")
    fleet.wait(lambda: len(fleet.log_entries("start")) == 2, "both workers to start")
    text = run(fleet, "status").stdout
    assert re.search(r"^service: +dispatching \(thoth-watch \S+:\d+\)$", text, re.MULTILINE)
    assert re.search(
        r"^queue: +\d+ batches sent, 2 leased; the oldest file has been waiting", text, re.MULTILINE
    )
    assert re.search(r"^workers: +w0@\S+ on auto: batch \d+, \d+ files? left$", text, re.MULTILINE)
    assert re.search(r"^ +w1@\S+ on auto: batch \d+", text, re.MULTILINE)
    document = json.loads(run(fleet, "status", "--json").stdout)["fleet"]
    assert [row["device"] for row in document["workers"]] == ["auto", "auto"]
    assert document["leased"] == 2


def test_a_second_dispatcher_exits_and_can_start_after_the_first_has_ended(fleet: Fleet) -> None:
    first = fleet.start("run")
    fleet.wait(lambda: "dispatching (" in run(fleet, "status").stdout, "the first dispatcher")
    second = run(fleet, "run")
    assert second.returncode == 75
    assert "in use by another process" in second.stderr
    first.kill()
    first.wait()
    assert run(fleet, "once").returncode == 0


def test_a_worker_without_an_engine_exits_and_claims_no_batch(fleet: Fleet) -> None:
    fleet.put("one", "two")
    broken = fleet.start("worker", "--name", "broken", "--model", "missing")
    fleet.start("run")
    assert broken.wait(200) == 69
    assert fleet.query("SELECT status FROM runs") == [("FAILED",)]
    fleet.workers(1)
    fleet.wait_done(2)
    assert fleet.query("SELECT max(attempts), max(deaths) FROM files") == [(1, 0)]


def test_check_reports_whether_the_broker_answers(fleet: Fleet, redis: Redis) -> None:
    done = run(fleet, "check", "--no-engine")
    assert re.search(r"broker: redis://127.0.0.1:\d+/0, \d+ batches queued", done.stdout)
    fleet.configure(broker=f"redis://:secret@127.0.0.1:{free_port()}/0")
    done = run(fleet, "check", "--no-engine")
    assert re.search(
        r"^fail +broker: redis://:\*\*\*@\S+ does not answer", done.stdout, re.MULTILINE
    )
    assert done.returncode == 75
