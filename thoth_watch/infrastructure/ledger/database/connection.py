"""Opening a ledger: check that it is ours, intact, of the newest schema, and still the same file."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from thoth_watch.domain.errors import ConfigError, LedgerBroken, RetryLater
from thoth_watch.infrastructure.ledger.database import postgresql_server
from thoth_watch.infrastructure.ledger.database.column_types import to_json
from thoth_watch.infrastructure.ledger.database.error_translation import (
    RESTORE_HINT,
    translate_errors,
)
from thoth_watch.infrastructure.ledger.database.migrations import upgrade
from thoth_watch.infrastructure.ledger.database.tables import APPLICATION_ID, SCHEMA_REVISION

log = logging.getLogger(__name__)

SQLITE_MAGIC = b"SQLite format 3\0"
BUSY_TIMEOUT_S = 10.0
# execution options of connections that will write
WRITE_OPTIONS: dict[str, Any] = {"thoth_writes": True}


@dataclass(frozen=True, slots=True)
class LedgerLocation:
    """Location of a ledger: a file with its identity, or a server."""

    name: str  # for messages
    path: Path | None = None
    device: int = 0
    inode: int = 0

    def check_identity(self) -> None:
        """Raise LedgerBroken if the opened file was deleted or replaced."""
        if self.path is None:
            return
        try:
            now = self.path.stat()
        except FileNotFoundError as error:
            raise LedgerBroken(
                f"ledger {self.name}: was deleted while open; {RESTORE_HINT}"
            ) from error
        except OSError as error:
            raise RetryLater(
                f"ledger {self.name}: its file cannot be inspected ({error.strerror}); check the folder"
            ) from error
        if (now.st_dev, now.st_ino) != (self.device, self.inode):
            raise LedgerBroken(f"ledger {self.name}: was replaced while open; restart")


def open_for_writing(
    url: str | URL, *, create: bool, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> tuple[Engine, LedgerLocation]:
    """Open a ledger for writing and upgrade it to the newest schema.

    A missing ledger is created, complete or not at all. Raises LedgerBroken, RetryLater, ConfigError.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        engine = postgresql_server.open_for_writing(parsed)
        return engine, LedgerLocation(parsed.render_as_string(hide_password=True))
    path = _sqlite_path(parsed)
    location = str(path)
    if not _ledger_file_exists(path):
        if not create:
            raise RetryLater(f"ledger {location}: does not exist yet; `run` or `once` creates it")
        _create_ledger(path)
    with translate_errors(location):
        _find_open_mode(path, busy_timeout_s=busy_timeout_s, thorough=True)
        engine = _engine(path, mode="rw", busy_timeout_s=busy_timeout_s)
        try:
            facts = path.stat()
            _upgrade_schema(engine, location)
        except BaseException:
            engine.dispose()
            raise
    return engine, LedgerLocation(location, path, facts.st_dev, facts.st_ino)


def open_for_reading(
    url: str | URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> tuple[Engine, LedgerLocation]:
    """Open an existing ledger read-only; nothing is created or migrated."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        engine = postgresql_server.open_for_reading(parsed)
        return engine, LedgerLocation(parsed.render_as_string(hide_password=True))
    path = _sqlite_path(parsed)
    location = str(path)
    if not _ledger_file_exists(path):
        raise RetryLater(f"ledger {location}: does not exist yet; `run` or `once` creates it")
    with translate_errors(location):
        mode = _find_open_mode(path, busy_timeout_s=busy_timeout_s, thorough=False)
        engine = _engine(path, mode=mode, busy_timeout_s=busy_timeout_s)
        try:
            with engine.connect() as connection:
                revision = upgrade.current_revision(connection)
        except BaseException:
            engine.dispose()
            raise
    if revision != SCHEMA_REVISION:
        engine.dispose()
        raise upgrade.wrong_version_error(location, revision)
    facts = path.stat()
    return engine, LedgerLocation(location, path, facts.st_dev, facts.st_ino)


def lock_path(url: str | URL) -> Path:
    """Return the file that the single writing process of a ledger locks."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(f"{_sqlite_path(parsed)}.lock")
    name = hashlib.sha256(parsed.render_as_string(hide_password=True).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"thoth-watch-{name}.lock"


def _upgrade_schema(engine: Engine, location: str) -> None:
    with engine.begin() as connection:
        if upgrade.current_revision(connection) == SCHEMA_REVISION:
            return
    with engine.connect().execution_options(**WRITE_OPTIONS) as connection, connection.begin():
        upgrade.upgrade_to_head(connection, location=location)


def _parse(url: str | URL) -> URL:
    try:
        return postgresql_server.with_default_driver(make_url(url))
    except ArgumentError as error:
        raise ConfigError(f"ledger.url {url!r}: use sqlite:///path/to/thoth-watch.db") from error


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError(f"ledger.url {str(url)!r}: use sqlite:///path/to/thoth-watch.db")
    return Path(url.database).absolute()


def _ledger_file_exists(path: Path) -> bool:
    """Return True if there is a file that may be a ledger. Raises LedgerBroken if it cannot be one."""
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode):
            with path.open("rb") as file:
                header = file.read(len(SQLITE_MAGIC))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RetryLater(
            f"ledger {path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not stat.S_ISREG(facts.st_mode):
        raise LedgerBroken(f"ledger {path}: is not a regular file; set ledger.url to another path")
    if not header:
        raise LedgerBroken(
            f"ledger {path}: is an empty file, not a ledger; delete it if there never was one"
            " (opening a missing database with sqlite3 leaves one), otherwise restore a backup"
        )
    if header != SQLITE_MAGIC:
        raise LedgerBroken(
            f"ledger {path}: is not a SQLite database; set ledger.url to another file"
        )
    return True


def _create_ledger(path: Path) -> None:
    """Create a ledger under a temporary name and link it, so that no process sees a partial one."""
    with translate_errors(str(path)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temp_folder = Path(tempfile.mkdtemp(prefix=".thoth-watch-", dir=path.parent))
        except OSError as error:
            raise RetryLater(
                f"ledger {path}: its folder cannot be written ({error.strerror}); check its permissions"
            ) from error
        try:
            _create_database(temp_folder / "ledger.db")
            _link(temp_folder / "ledger.db", path)
        finally:
            shutil.rmtree(temp_folder, ignore_errors=True)


def _create_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    engine = _engine(path, mode="rw", busy_timeout_s=BUSY_TIMEOUT_S)
    try:
        with engine.connect().execution_options(**WRITE_OPTIONS) as writer, writer.begin():
            upgrade.upgrade_to_head(writer, location=str(path))
    finally:
        engine.dispose()  # closing the last connection checkpoints the write-ahead log


def _link(created: Path, path: Path) -> None:
    try:
        try:
            os.link(created, path)
        except FileExistsError:
            return  # another process was faster; its ledger is equivalent
        except OSError:  # a file system without hard links
            if not path.exists():
                created.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RetryLater(
            f"ledger {path}: cannot be created ({error.strerror}); check its folder"
        ) from error


def _find_open_mode(path: Path, *, busy_timeout_s: float, thorough: bool) -> str:
    """Check that the file is a ledger of ours before changing it; return the mode to open it with."""
    mode = "rw" if thorough else "ro"
    try:
        _check_contents(path, mode=mode, busy_timeout_s=busy_timeout_s, thorough=thorough)
    except sqlite3.OperationalError as error:
        has_log = Path(f"{path}-wal").exists()
        if (
            thorough
            or has_log
            or error.sqlite_errorname
            not in {
                "SQLITE_CANTOPEN",
                "SQLITE_READONLY_DIRECTORY",
                "SQLITE_READONLY_CANTINIT",
            }
        ):
            raise
        mode = "ro&immutable=1"  # a read-only folder, and no process has the ledger open
        _check_contents(path, mode=mode, busy_timeout_s=busy_timeout_s, thorough=False)
    return mode


def _check_contents(path: Path, *, mode: str, busy_timeout_s: float, thorough: bool) -> None:
    with closing(sqlite3.connect(_uri(path, mode), uri=True, timeout=busy_timeout_s)) as connection:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID:
            raise LedgerBroken(
                f"ledger {path}: is another program's database; set ledger.url to another file"
            )
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if thorough:
            connection.execute("BEGIN IMMEDIATE")  # fails if it cannot be written now
            connection.rollback()
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise LedgerBroken(f"ledger {path}: is damaged ({verdict}); {RESTORE_HINT}")


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def _engine(path: Path, *, mode: str, busy_timeout_s: float) -> Engine:
    """Return an engine on an existing file; a deleted ledger is never created again as an empty one."""
    is_read_only = mode != "rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            _uri(path, mode),
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,  # BEGIN is sent explicitly, by `_begin`
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys=ON")
            if is_read_only:
                connection.execute("PRAGMA query_only=ON")
            else:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                # in KiB; one scan may write 50,000 rows
                connection.execute("PRAGMA cache_size=-32000")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite://",
        creator=connect,
        json_serializer=to_json,
        poolclass=NullPool if is_read_only else QueuePool,
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Begin a transaction; a writer takes the lock at its start.

    A transaction that reads first and then writes fails immediately if another one wrote in between.
    """
    writes = connection.get_execution_options().get("thoth_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
