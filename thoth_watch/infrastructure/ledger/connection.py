"""Opening a ledger: is it ours, is it sound, is it the newest schema; and is it still the same file."""

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
from thoth_watch.infrastructure.ledger import postgresql_server
from thoth_watch.infrastructure.ledger.column_types import to_json
from thoth_watch.infrastructure.ledger.error_translation import RESTORE_HINT, translate_errors
from thoth_watch.infrastructure.ledger.migrations import upgrade
from thoth_watch.infrastructure.ledger.tables import APPLICATION_ID, SCHEMA_REVISION

log = logging.getLogger(__name__)

SQLITE_MAGIC = b"SQLite format 3\0"
BUSY_TIMEOUT_S = 10.0
WRITE_OPTIONS: dict[str, Any] = {
    "thoth_writes": True
}  # execution option of connections that will write


@dataclass(frozen=True, slots=True)
class LedgerLocation:
    """Where a ledger lies: a file with its identity, or a server."""

    name: str  # for messages
    path: Path | None = None
    device: int = 0
    inode: int = 0

    def check_identity(self) -> None:
        """Raise LedgerBroken if the file that was opened is no longer the one that has its name."""
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
                f"ledger {self.name}: cannot be looked at ({error.strerror})"
            ) from error
        if (now.st_dev, now.st_ino) != (self.device, self.inode):
            raise LedgerBroken(f"ledger {self.name}: was replaced while open; restart")


def open_for_writing(
    url: str | URL, *, create: bool, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> tuple[Engine, LedgerLocation]:
    """An engine on a ledger of the newest schema; made whole, or not at all, where there is none."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        engine = postgresql_server.open_for_writing(parsed)
        return engine, LedgerLocation(parsed.render_as_string(hide_password=True))
    path = _sqlite_path(parsed)
    location = str(path)
    if not _ledger_file_exists(path):
        if not create:
            raise RetryLater(f"ledger {location}: there is none yet; `run` or `once` makes it")
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
    """An engine that cannot write, on a ledger that is there; nothing is made or migrated."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        engine = postgresql_server.open_for_reading(parsed)
        return engine, LedgerLocation(parsed.render_as_string(hide_password=True))
    path = _sqlite_path(parsed)
    location = str(path)
    if not _ledger_file_exists(path):
        raise RetryLater(f"ledger {location}: there is none yet; `run` or `once` makes it")
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
    """The file whose lock the one process that works on a ledger holds."""
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
    """Whether there is a file that may be a ledger. LedgerBroken if it cannot be one."""
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode):
            with path.open("rb") as file:
                beginning = file.read(len(SQLITE_MAGIC))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RetryLater(
            f"ledger {path}: cannot be read ({error.strerror}); look at its mode"
        ) from error
    if not stat.S_ISREG(facts.st_mode):
        raise LedgerBroken(f"ledger {path}: is not a file; name another in ledger.url")
    if not beginning:
        raise LedgerBroken(
            f"ledger {path}: is an empty file, not a ledger; delete it if there never was one"
            " (sqlite3 leaves such a file where it is asked too early), else restore a backup"
        )
    if beginning != SQLITE_MAGIC:
        raise LedgerBroken(
            f"ledger {path}: is not a SQLite database; name another file in ledger.url"
        )
    return True


def _create_ledger(path: Path) -> None:
    """Make a ledger aside and link it to its name, so that nobody ever meets half of one."""
    with translate_errors(str(path)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=".thoth-watch-", dir=path.parent))
        except OSError as error:
            raise RetryLater(
                f"ledger {path}: its folder cannot be written ({error.strerror}); look at its mode"
            ) from error
        try:
            _create_database(aside / "ledger.db")
            _link(aside / "ledger.db", path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _create_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA synchronous=FULL")
        plain.execute(f"PRAGMA application_id={APPLICATION_ID}")
    engine = _engine(path, mode="rw", busy_timeout_s=BUSY_TIMEOUT_S)
    try:
        with engine.connect().execution_options(**WRITE_OPTIONS) as connection, connection.begin():
            upgrade.upgrade_to_head(connection, location=str(path))
    finally:
        engine.dispose()  # the last connection moves the write-ahead log into the file


def _link(made: Path, path: Path) -> None:
    try:
        try:
            os.link(made, path)
        except FileExistsError:
            return  # another process was faster; its ledger is as good
        except OSError:  # a file system without hard links
            if not path.exists():
                made.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RetryLater(f"ledger {path}: cannot be made ({error.strerror})") from error


def _find_open_mode(path: Path, *, busy_timeout_s: float, thorough: bool) -> str:
    """Whose file it is, before anything of ours touches it. The mode in which it can be read."""
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
        mode = "ro&immutable=1"  # a folder that we may not write, and nobody has the ledger open
        _check_contents(path, mode=mode, busy_timeout_s=busy_timeout_s, thorough=False)
    return mode


def _check_contents(path: Path, *, mode: str, busy_timeout_s: float, thorough: bool) -> None:
    with closing(sqlite3.connect(_uri(path, mode), uri=True, timeout=busy_timeout_s)) as connection:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID:
            raise LedgerBroken(
                f"ledger {path}: is another program's database; name another file in ledger.url"
            )
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if thorough:
            connection.execute("BEGIN IMMEDIATE")  # can it be written, and now
            connection.rollback()
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise LedgerBroken(f"ledger {path}: is damaged ({verdict}); {RESTORE_HINT}")


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def _engine(path: Path, *, mode: str, busy_timeout_s: float) -> Engine:
    """An engine on an existing file only: one that was deleted is not made anew, empty."""
    is_read_only = mode != "rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            _uri(path, mode),
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,  # we say BEGIN ourselves
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys=ON")
            if is_read_only:
                connection.execute("PRAGMA query_only=ON")
            else:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(
                    "PRAGMA cache_size=-32000"
                )  # KiB; one look may write 50,000 rows
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
    """Writers take the lock first: one that reads and then writes would fail at once if another wrote."""
    writes = connection.get_execution_options().get("thoth_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
