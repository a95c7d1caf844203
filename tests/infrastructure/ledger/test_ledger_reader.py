from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.contracts.test_ledger_contract import (
    NOW,
    REQUESTED,
    fail,
    finished_run,
    make_claim,
    make_ready,
    open_run,
    publish,
    put_result,
    record,
    recording,
)
from tests.ledgers import FlatLedger
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.run import FileOutcome, RunStatus
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.ledger.database.connection import open_for_reading
from thoth_watch.infrastructure.ledger.reading import LedgerReader


def one_done_run(ledger: SqlLedger, name: str = "a", **changes: object) -> int:
    claim = make_claim(ledger, recording(f"{name}.wav"))
    put_result(ledger, claim, names=(f"{name}.txt",))
    publish(ledger, claim, name=f"{name}.txt")
    run_id = open_run(ledger, claim)
    outcome = FileOutcome(claim.batch.files[0].file_id, State.DONE, sha256="s1", duration_s=2.5)
    ledger.close_run(run_id, finished_run(**changes), [outcome])
    return run_id


def test_a_run_is_read_with_all_its_columns_and_files(ledger: SqlLedger, url: str) -> None:
    run_id = one_done_run(ledger)
    with LedgerReader.open(url) as reader:
        run = reader.run(run_id)
        assert reader.run(run_id + 1) is None
        assert reader.last_run()["id"] == run_id
    assert run["status"] == "DONE"
    assert run["started_at"] == NOW
    assert (run["engine"], run["engine_asked"]) == ("accelerated", "accelerated")
    assert (run["precision"], run["precision_asked"]) == ("float32", "auto")
    assert run["realtime_factor"] == pytest.approx(10.0)
    assert run["files_per_min"] == pytest.approx(6.0)
    assert (run["load_s"], run["generate_s"]) == (1.0, 2.0)
    assert run["fallbacks"] == [
        {"what": "device", "asked": "cuda", "got": "cpu", "why": "no GPU here"}
    ]
    assert run["versions"] == {"torch": "2.13.0"}
    assert run["is_main_process"] is True
    assert run["peak_rss_bytes"] == 2**40
    (member,) = run["files"]
    assert (member["path"], member["state"], member["reused"]) == ("/in/a.wav", "DONE", False)


def test_runs_come_newest_first_and_can_be_limited(ledger: SqlLedger, url: str) -> None:
    ledger.record_failed_start(requested=REQUESTED, error="no GPU", host="h", now=NOW)
    ledger.record_failed_start(
        requested=REQUESTED, error="no", host="h", now=NOW + timedelta(days=1)
    )
    with LedgerReader.open(url) as reader:
        assert [run["id"] for run in reader.runs()] == [2, 1]
        assert [run["id"] for run in reader.runs(limit=1)] == [2]
        assert [run["id"] for run in reader.runs(since=NOW + timedelta(hours=1))] == [2]
        assert [run["status"] for run in reader.runs()] == ["FAILED", "FAILED"]
        assert [line["engine"] for line in reader.run_summary()] == ["accelerated"] * 2


def test_files_can_be_filtered_by_state_and_path(ledger: SqlLedger, url: str) -> None:
    make_ready(ledger, recording("en/a.wav"), recording("fr/b.wav"))
    record(ledger, seen=[(recording("fr/deep/c.wav"), "new")])
    with LedgerReader.open(url) as reader:
        paths = lambda **requested: [row["path"][4:] for row in reader.files(**requested)]  # noqa: E731
        assert paths() == ["en/a.wav", "fr/b.wav", "fr/deep/c.wav"]
        assert paths(states=State.SEEN) == ["fr/deep/c.wav"]
        assert paths(states=("READY", "SEEN"), limit=2) == ["en/a.wav", "fr/b.wav"]
        assert paths(match="fr/*") == ["fr/b.wav"]
        assert paths(match="fr/**") == ["fr/b.wav", "fr/deep/c.wav"]
        assert paths(match="deep") == ["fr/deep/c.wav"]
        assert paths(match="/in/en/a.wav") == ["en/a.wav"]
        assert reader.counts()[State.READY] == 2
        assert reader.counts()[State.DONE] == 0
        json.dumps(reader.files(), default=str)


def test_the_views_show_failures_engines_and_runs(ledger: SqlLedger, path: Path) -> None:
    one_done_run(ledger, "a")
    one_done_run(ledger, "b", audio_s=300.0)
    fail(ledger, make_claim(ledger, recording("bad.wav")), State.FAILED, reason="no audio in it")
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        failures = [dict(row) for row in connection.execute("SELECT * FROM failures")]
        engines = [dict(row) for row in connection.execute("SELECT * FROM engine_summary")]
        lines = [dict(row) for row in connection.execute("SELECT * FROM run_summary")]
    assert [(row["path"], row["state"], row["reason"]) for row in failures] == [
        ("/in/bad.wav", "FAILED", "no audio in it")
    ]
    assert engines == [
        {
            "engine": "accelerated",
            "device": "cpu",
            "precision": "float32",
            "runs": 2,
            "files": 2,
            "audio_hours": 0.111,
            "mean_realtime_factor": 20.0,
            "files_per_min": 6.0,
        }
    ]
    done = [line for line in lines if line["status"] == "DONE"]
    assert [line["realtime_factor"] for line in done] == [10.0, 30.0]
    assert [line["fallbacks"] for line in done] == [1, 1]


def test_an_interrupted_run_has_an_end_time_and_an_error(ledger: SqlLedger, url: str) -> None:
    claim = make_claim(ledger, recording("a.wav"), recording("b.wav"))
    put_result(ledger, claim)
    ledger.recover_claims(now=NOW)
    with LedgerReader.open(url) as reader:
        run = reader.run(reader.last_run()["id"])
        (batch_state,) = reader._read_view(sql("SELECT state FROM batches"))
    assert run["status"] == RunStatus.INTERRUPTED
    assert run["finished_at"] == NOW
    assert run["error"]
    assert batch_state == {"state": "DEAD"}


def sql(query: str):
    from sqlalchemy import text

    return text(query)


def test_every_transition_is_logged(ledger: SqlLedger, path: Path) -> None:
    one_done_run(ledger)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT before, after FROM transitions ORDER BY id").fetchall()
    assert rows == [
        ("SEEN", "READY"),
        ("READY", "CLAIMED"),
        ("CLAIMED", "RESULT"),
        ("RESULT", "DONE"),
    ]


def test_a_reader_is_not_blocked_by_a_writer(ledger: SqlLedger, url: str) -> None:
    make_ready(ledger, recording())
    with ledger.write() as connection:
        connection.execute(sql("UPDATE files SET reason = 'not yet committed'"))
        with LedgerReader.open(url, busy_timeout_s=0.1) as reader:
            assert reader.files()[0]["reason"] == "waiting for a batch"


def test_a_reader_cannot_write(ledger: SqlLedger, url: str) -> None:
    engine, _ = open_for_reading(url)
    with engine.connect() as connection, pytest.raises(OperationalError, match="readonly"):
        connection.execute(sql("DELETE FROM files"))
    engine.dispose()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_ledger_in_a_read_only_folder_can_be_read(url: str, path: Path) -> None:
    with FlatLedger.open(url) as ledger:
        make_ready(ledger, recording())
    path.parent.chmod(0o500)
    try:
        with LedgerReader.open(url) as reader:
            assert reader.counts()[State.READY] == 1
    finally:
        path.parent.chmod(0o700)


def test_reading_does_not_change_the_ledger(url: str, path: Path) -> None:
    SqlLedger.open(url).close()
    before = path.read_bytes()
    with LedgerReader.open(url) as reader:
        assert reader.last_run() is None
        assert sum(reader.counts().values()) == 0
    assert path.read_bytes() == before


def test_a_reader_waits_for_a_lock_only_until_its_timeout(url: str, path: Path) -> None:
    SqlLedger.open(url).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RetryLater, match="locked"):
            LedgerReader.open(url, busy_timeout_s=0.1)
