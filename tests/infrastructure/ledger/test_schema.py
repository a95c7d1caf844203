from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from tests.contracts.test_ledger_contract import make_ready, record, recording
from thoth_watch.domain.errors import LedgerBroken
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.ledger.database.migrations import upgrade
from thoth_watch.infrastructure.ledger.database.tables import SCHEMA_REVISION, metadata
from thoth_watch.infrastructure.ledger.reading import LedgerReader

DOCUMENTED_COLUMNS = {
    "runs": "id started_at finished_at status engine engine_asked model model_revision device "
    "device_name precision precision_asked batch_size num_processes is_main_process files_ok "
    "files_failed audio_s wall_s load_s queue_s decode_s features_s encode_s generate_s write_s "
    "realtime_factor files_per_min tokens peak_rss_bytes peak_gpu_bytes fallbacks host versions "
    "error",
    "files": "path state reason sha256 size_bytes duration_s attempts run_id",
    "run_files": "run_id file_id path state reason duration_s reused",
    "results": "sha256 fingerprint transcript",
}


def test_the_migrations_build_the_same_constraints(ledger: SqlLedger) -> None:
    query = text(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
        " AND name <> 'alembic_version'"
    )
    fresh = create_engine("sqlite://")
    with fresh.begin() as connection:
        metadata.create_all(connection)
        expected = {name: sorted(clauses(sql)) for name, sql in connection.execute(query)}
    fresh.dispose()
    with ledger.engine.connect() as connection:
        actual = {name: sorted(clauses(sql)) for name, sql in connection.execute(query)}
    assert actual == expected


def clauses(sql: str) -> list[str]:
    """Return the lines of a statement; SQLite appends columns of migrations to the last line."""
    lines = re.sub(r", (?=\w+ [A-Z]+,)", ",\n", sql).splitlines()
    return [line.strip().rstrip(",") for line in lines]


def test_the_newest_migration_is_the_one_that_readers_require() -> None:
    config = Config()
    config.set_main_option("script_location", str(upgrade.HERE))
    config.set_main_option("path_separator", "newline")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_opening_again_changes_nothing(url: str, path: Path) -> None:
    SqlLedger.open(url).close()
    before = path.read_bytes()
    SqlLedger.open(url).close()
    assert path.read_bytes() == before


def test_migrating_again_changes_nothing(ledger: SqlLedger) -> None:
    with ledger.engine.begin() as connection:
        upgrade.upgrade_to_head(connection, location="here")
        assert upgrade.current_revision(connection) == SCHEMA_REVISION


@pytest.mark.parametrize("opened", [SqlLedger.open, LedgerReader.open])
def test_a_ledger_of_a_newer_version_is_not_opened(url: str, path: Path, opened) -> None:
    SqlLedger.open(url).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerBroken, match="newer thoth-watch"):
        opened(url)


@pytest.mark.parametrize("table", DOCUMENTED_COLUMNS)
def test_documented_columns_exist(ledger: SqlLedger, table: str) -> None:
    with ledger.engine.connect() as connection:
        columns = set(connection.execute(text(f"SELECT * FROM {table}")).keys())
    assert set(DOCUMENTED_COLUMNS[table].split()) <= columns


@pytest.mark.parametrize(
    "change",
    [
        "state = 'done'",
        "state = 'FAILED', reason = ''",
        "state = 'FAILED', reason = '  '",
        "attempts = -1",
        "path_raw = (SELECT path_raw FROM files WHERE id = 2)",
        "run_id = 77",
        "reason = NULL",
    ],
)
def test_the_database_rejects_invalid_rows(ledger: SqlLedger, path: Path, change: str) -> None:
    make_ready(ledger, recording("a.wav"), recording("b.wav"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys=ON")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(f"UPDATE files SET {change} WHERE id = 1")


def test_times_are_text_that_sqlite_can_calculate_with(ledger: SqlLedger, path: Path) -> None:
    record(ledger, seen=[(recording(), "new")])
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(
            "SELECT first_seen_at, datetime(first_seen_at, '+1 day'),"
            " first_seen_at > datetime('2026-11-23 11:59:59'),"
            " first_seen_at < datetime('2026-11-23 12:00:01') FROM files"
        ).fetchone()
    assert row == ("2026-11-23 12:00:00.123456Z", "2026-11-24 12:00:00", 1, 1)


def test_undecodable_bytes_in_paths_are_escaped(ledger: SqlLedger, path: Path) -> None:
    record(ledger, seen=[(recording("caf\udce9.wav"), "odd \udce9 \0 reason")])
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT path, path_raw, inbox, reason FROM files").fetchone()
    assert row == ("/in/caf\\xe9.wav", b"/in/caf\xe9.wav", "/in", "odd \\xe9 \\x00 reason")
