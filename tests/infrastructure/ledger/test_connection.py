from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.contracts.test_ledger_contract import NOW, make_ready, record, recording, state_of
from tests.ledgers import FlatLedger
from thoth_watch.domain.errors import ConfigError, LedgerBroken, RetryLater
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.ledger.database.connection import WRITE_OPTIONS
from thoth_watch.infrastructure.ledger.database.tables import APPLICATION_ID
from thoth_watch.infrastructure.ledger.reading import LedgerReader, lock_path


def test_a_new_ledger_is_created_with_its_folders_and_no_other_files(tmp_path: Path) -> None:
    path = tmp_path / "some where" / "deep%20 er" / "le?dger#.db"
    SqlLedger.open(sqlite_url(path)).close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def sqlite_url(path: Path):
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path))


def test_a_connection_is_durable_enforces_foreign_keys_and_waits_for_locks(
    ledger: SqlLedger,
) -> None:
    with ledger.engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 200,
    }


def test_a_writer_waits_for_another_before_it_reads_anything(url: str) -> None:
    """One that reads first and then writes would fail immediately if another had written in between."""
    with FlatLedger.open(url) as first, FlatLedger.open(url, busy_timeout_s=0.1) as second:
        writing = first.engine.connect().execution_options(**WRITE_OPTIONS)
        with writing as connection, connection.begin():
            late = second.engine.connect().execution_options(**WRITE_OPTIONS)
            with late, pytest.raises(OperationalError, match="locked"):
                late.begin()


def test_recorded_rows_are_there_after_reopening(url: str) -> None:
    with FlatLedger.open(url) as ledger:
        record(ledger, seen=[(recording(), "new")])
    with FlatLedger.open(url, create=False) as ledger:
        assert state_of(ledger) is State.SEEN


def test_a_missing_ledger_is_only_created_on_request(url: str, path: Path) -> None:
    with pytest.raises(RetryLater, match="does not exist yet"):
        SqlLedger.open(url, create=False)
    with pytest.raises(RetryLater, match="does not exist yet"):
        LedgerReader.open(url)
    assert not path.exists()


@pytest.mark.parametrize("opened", [SqlLedger.open, LedgerReader.open])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file, not a ledger; delete it if there never was one"),
        (b"dear diary\n" * 500, "not a SQLite database"),
        (None, "is not a regular file"),
    ],
)
def test_anything_but_a_ledger_at_its_path_is_left_alone(
    url: str, path: Path, opened, content: bytes | None, message: str
) -> None:
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(LedgerBroken, match=message) as caught:
        opened(url)
    assert str(path) in str(caught.value)
    assert path.is_dir() if content is None else path.read_bytes() == content


@pytest.mark.parametrize("opened", [SqlLedger.open, LedgerReader.open])
def test_another_programs_database_is_left_alone(url: str, path: Path, opened) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE diary (day)")
    before = path.read_bytes()
    with pytest.raises(LedgerBroken, match="another program's database"):
        opened(url)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_opening_a_damaged_ledger_fails(url: str, path: Path) -> None:
    with FlatLedger.open(url) as ledger:
        make_ready(ledger, *(recording(f"{n}.wav") for n in range(300)))
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(content)
    with pytest.raises(LedgerBroken, match=r"damaged.*backup"):
        SqlLedger.open(url)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_deleting_or_replacing_an_open_ledger_is_detected(
    ledger: SqlLedger, path: Path, how: str
) -> None:
    ledger.check_identity()
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    path.unlink()
    if how == "replaced":
        copy.rename(path)
    with pytest.raises(LedgerBroken, match=f"was {how} while open"):
        ledger.check_identity()
    with pytest.raises(LedgerBroken, match=f"was {how} while open"):
        record(ledger, seen=[(recording(), "new")])
    assert path.exists() is (how == "replaced")


def test_a_locked_ledger_raises_retry_later(ledger: SqlLedger, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RetryLater, match="locked") as caught:
            record(ledger, seen=[(recording(), "new")])
        assert str(path) in str(caught.value)
        with pytest.raises(RetryLater, match="locked"):
            SqlLedger.open(f"sqlite:///{path}", busy_timeout_s=0.1)
        other.execute("ROLLBACK")
    record(ledger, seen=[(recording(), "new")])
    assert state_of(ledger) is State.SEEN


def test_a_full_disk_raises_retry_later_until_there_is_space(ledger: SqlLedger) -> None:
    with ledger.engine.connect() as connection:  # the pool hands it to the next caller
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
    many = [recording(f"{'long' * 40}{n}.wav") for n in range(300)]
    with pytest.raises(RetryLater, match="disk is full"):
        record(ledger, seen=[(file, "new") for file in many])
    assert ledger.known_files(many[0].inbox) == {}
    with ledger.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=100000")
    record(ledger, seen=[(file, "new") for file in many])
    assert len(ledger.known_files(many[0].inbox)) == 300


def test_the_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RetryLater, match="folder cannot be written"):
        SqlLedger.open(f"sqlite:///{tmp_path}/file/ledger.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_the_error_names_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RetryLater, match="cannot be written"):
            SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "martian://x/y"])
def test_a_url_that_names_no_ledger_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        SqlLedger.open(url)


def test_several_processes_can_create_a_ledger_at_the_same_time(url: str, path: Path) -> None:
    program = (
        "import sys; from thoth_watch.infrastructure.ledger import SqlLedger;"
        "sys.stdin.readline(); ledger = SqlLedger.open(sys.argv[1]); ledger.close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(b"go\n") for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with FlatLedger.open(url, create=False) as ledger:
        assert ledger.known_files(recording().inbox) == {}


def test_killing_a_process_loses_no_reported_commit(url: str) -> None:
    program = """
import sys
from tests.contracts.test_ledger_contract import record, recording
from tests.ledgers import FlatLedger
ledger = FlatLedger.open(sys.argv[1])
for n in range(100_000):
    record(ledger, seen=[(recording(f"{n}.wav"), "new")])
    print(n, flush=True)
"""
    SqlLedger.open(url).close()
    command = [sys.executable, "-c", program, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        acked = [int(process.stdout.readline()) for _ in range(25)]
        process.kill()
        acked += [int(line) for line in process.stdout if line.endswith(b"\n")]
    with FlatLedger.open(url) as ledger:
        recorded = {path.name for path in ledger.known_files(recording().inbox)}
    assert {f"{n}.wav" for n in acked} <= recorded
    assert len(recorded) <= len(acked) + 1


def test_the_lock_file_is_next_to_the_ledger(url: str, path: Path) -> None:
    assert lock_path(url) == path.with_name("ledger.db.lock")
    assert lock_path("postgresql://user:secret@host/db").name.endswith(".lock")


def test_a_time_without_a_time_zone_is_rejected(ledger: SqlLedger) -> None:
    with pytest.raises(ValueError, match="time zone"):
        record(ledger, seen=[(recording(), "new")], now=NOW.replace(tzinfo=None))
