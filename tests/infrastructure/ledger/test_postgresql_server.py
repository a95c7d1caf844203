"""Behavior specific to PostgreSQL, and every reader query on both databases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.contracts.test_lease_contract import lease_existing, send
from tests.contracts.test_ledger_contract import (
    INBOX,
    NOW,
    fail,
    make_claim,
    open_run,
    publish,
    put_result,
    recording,
)
from tests.infrastructure.ledger.test_ledger_reader import one_done_run
from tests.ledgers import BOTH, LEDGERS, FlatLedger
from tests.servers import Postgres, require
from thoth_watch.application.ports.dispatch import WorkerInfo
from thoth_watch.domain.errors import ConfigError, LedgerBroken, RetryLater
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.ledger.database import postgresql_server
from thoth_watch.infrastructure.ledger.database.postgresql_server import DispatcherLock
from thoth_watch.infrastructure.ledger.reading import LedgerReader


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest) -> str:
    return LEDGERS[request.param](request)


def test_every_reader_query_works_on_both_databases(url: str) -> None:
    with FlatLedger.open(url) as ledger:
        run_id = one_done_run(ledger, "done")
        failed = make_claim(ledger, recording("failed.wav"))
        fail(ledger, failed, State.FAILED, reason="no audio in it")
        ledger.record_worker(WorkerInfo("w", "here", 7, "cpu"), batch_id=None)
        sent = send(ledger, "sent.wav")
        lease_existing(ledger, sent.batch_id)
    with LedgerReader.open(url) as reader:
        assert reader.run(run_id)["status"] == "DONE"
        assert reader.counts()[State.DONE] == 1
        assert [row["reason"] for row in reader.files(State.FAILED, reason="NO AUDIO")] == [
            "no audio in it"
        ]
        assert len(reader.files(made_by="builtin")) in (0, 1)
        assert reader.backlog().files == 1
        events, cursor = reader.events(None, limit=100)
        assert {event["event"] for event in events} == {"file", "run"}
        assert reader.events(cursor, limit=100)[0] == []
        assert reader.outputs(str(INBOX / "done.wav"))
        history = reader.history(since=NOW - timedelta(days=1), now=datetime.now(UTC))
        assert history.files_ok >= 1
        assert reader.ledger_stats(is_working=True).files["DONE"] == 1
        assert run_id in {row["id"] for row in reader.run_summary()}
        assert reader.engine_summary()
        assert [row["reason"] for row in reader.failures() if row["state"] == "FAILED"]
        fleet = reader.fleet()
        assert (fleet.sent, fleet.leased, fleet.oldest_wait_s) == (0, 1, None)
        assert [(row["name"], row["files"]) for row in fleet.workers] == [("w", 0)]


def test_the_error_names_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"needs the postgres extra; pip install 'thoth-watch\["):
        SqlLedger.open("postgresql+psycopg://me@127.0.0.1/none")


@pytest.mark.scale
def test_an_unreachable_server_raises_retry_later() -> None:
    require(modules=("psycopg",))
    with pytest.raises(RetryLater, match="the database does not answer"):
        SqlLedger.open("postgresql://me@127.0.0.1:1/none")


@pytest.mark.scale
def test_a_reader_creates_nothing_and_cannot_write(
    postgres: Postgres, new_postgres_ledger: Callable[[], str]
) -> None:
    with pytest.raises(RetryLater, match="does not exist yet"):
        LedgerReader.open(postgres.new_database())
    with (
        LedgerReader.open(new_postgres_ledger()) as reader,
        pytest.raises(LedgerBroken, match="read-only"),
        reader._transactions.read() as connection,
    ):
        connection.execute(text("DELETE FROM files"))


@pytest.mark.scale
def test_only_one_process_holds_the_dispatcher_lock_until_it_ends(
    new_postgres_ledger: Callable[[], str],
) -> None:
    url, other = new_postgres_ledger(), new_postgres_ledger()
    SqlLedger.open(url).close()
    with DispatcherLock(url) as lock:
        lock.ensure_held()
        with (
            pytest.raises(RetryLater, match="in use by another process"),
            DispatcherLock(url.replace("+psycopg", "")),
        ):
            pass
        with DispatcherLock(other), LedgerReader.open(url) as reader:
            assert str(reader.fleet().dispatcher).startswith("thoth-watch ")
    with LedgerReader.open(url) as reader:
        assert reader.fleet().dispatcher is None
    with DispatcherLock(url):
        pass


@pytest.mark.scale
def test_the_lock_is_reacquired_after_an_outage_unless_another_process_was_faster(
    postgres: Postgres, new_postgres_ledger: Callable[[], str]
) -> None:
    url = new_postgres_ledger()
    with DispatcherLock(url) as lock:
        postgres.stop()
        lock.ensure_held()  # no process holds it: no error
        lock.ensure_held()
        postgres.start()
        lock.ensure_held()
        with pytest.raises(RetryLater), DispatcherLock(url):
            pass
        postgres.restart()
        lock.ensure_held()  # detects that the lock is lost
        with (
            DispatcherLock(url),
            pytest.raises(RetryLater, match="in use by another process"),
        ):
            lock.ensure_held()


@pytest.mark.scale
def test_a_claim_survives_a_restart_of_the_server(
    postgres: Postgres, new_postgres_ledger: Callable[[], str]
) -> None:
    with FlatLedger.open(new_postgres_ledger()) as ledger:
        claim = make_claim(ledger, recording())
        open_run(ledger, claim)
        postgres.stop()
        with pytest.raises(RetryLater, match="does not answer"):
            put_result(ledger, claim)
        postgres.start()
        assert put_result(ledger, claim)
        assert publish(ledger, claim)


@pytest.mark.scale
def test_a_process_suspended_in_a_transaction_loses_its_locks(
    new_postgres_ledger: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_postgres_ledger()
    monkeypatch.setattr(postgresql_server, "IDLE_IN_TRANSACTION_TIMEOUT_S", 1)
    with FlatLedger.open(url) as frozen, FlatLedger.open(url) as ledger:
        make_claim(ledger, recording())

        def hold_transaction_open() -> None:
            with frozen.write() as connection:
                connection.execute(text("SELECT * FROM files FOR UPDATE"))
                assert ledger.recover_claims(now=NOW) == 1
                connection.execute(text("SELECT 1"))

        with pytest.raises(RetryLater, match="idle-in-transaction timeout"):
            hold_transaction_open()
