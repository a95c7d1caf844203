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
from thoth_watch.infrastructure.ledger import server
from thoth_watch.infrastructure.ledger.column_types import to_json
from thoth_watch.infrastructure.ledger.failures import RESTORE, translated
from thoth_watch.infrastructure.ledger.migrations import upgrade
from thoth_watch.infrastructure.ledger.tables import APPLICATION_ID, SCHEMA_REVISION

log = logging.getLogger(__name__)

MAGIC = b"SQLite format 3\0"
BUSY_TIMEOUT_S = 10.0
WRITES: dict[str, Any] = {"thoth_writes": True}  # execution option of connections that will write


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger lies: a file with its identity, or a server."""

    name: str  # for messages
    path: Path | None = None
    device: int = 0
    inode: int = 0

    def check(self) -> None:
        """Raise LedgerBroken if the file that was opened is no longer the one that has its name."""
        if self.path is None:
            return
        try:
            now = self.path.stat()
        except FileNotFoundError as error:
            raise LedgerBroken(f"ledger {self.name}: was deleted while open; {RESTORE}") from error
        except OSError as error:
            raise RetryLater(
                f"ledger {self.name}: cannot be looked at ({error.strerror})"
            ) from error
        if (now.st_dev, now.st_ino) != (self.device, self.inode):
            raise LedgerBroken(f"ledger {self.name}: was replaced while open; restart")


def open_for_writing(
    url: str | URL, *, create: bool, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> tuple[Engine, Place]:
    """An engine on a ledger of the newest schema; made whole, or not at all, where there is none."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        engine = server.open_for_writing(parsed)
        return engine, Place(parsed.render_as_string(hide_password=True))
    path = _sqlite_path(parsed)
    place = str(path)
    if not _lies_there(path):
        if not create:
            raise RetryLater(f"ledger {place}: there is none yet; `run` or `once` makes it")
        _make(path)
    with translated(place):
        _inspect(path, busy_timeout_s=busy_timeout_s, thorough=True)
        engine = _engine(path, mode="rw", busy_timeout_s=busy_timeout_s)
        try:
            facts = path.stat()
            _bring_up_to_date(engine, place)
        except BaseException:
            engine.dispose()
            raise
    return engine, Place(place, path, facts.st_dev, facts.st_ino)


def open_for_reading(
    url: str | URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> tuple[Engine, Place]:
    """An engine that cannot write, on a ledger that is there; nothing is made or migrated."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        engine = server.open_for_reading(parsed)
        return engine, Place(parsed.render_as_string(hide_password=True))
    path = _sqlite_path(parsed)
    place = str(path)
    if not _lies_there(path):
        raise RetryLater(f"ledger {place}: there is none yet; `run` or `once` makes it")
    with translated(place):
        mode = _inspect(path, busy_timeout_s=busy_timeout_s, thorough=False)
        engine = _engine(path, mode=mode, busy_timeout_s=busy_timeout_s)
        try:
            with engine.connect() as connection:
                revision = upgrade.revision_of(connection)
        except BaseException:
            engine.dispose()
            raise
    if revision != SCHEMA_REVISION:
        engine.dispose()
        raise upgrade.wrong_version(place, revision)
    facts = path.stat()
    return engine, Place(place, path, facts.st_dev, facts.st_ino)


def lock_path(url: str | URL) -> Path:
    """The file whose lock the one process that works on a ledger holds."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(f"{_sqlite_path(parsed)}.lock")
    name = hashlib.sha256(parsed.render_as_string(hide_password=True).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"thoth-watch-{name}.lock"


def _bring_up_to_date(engine: Engine, place: str) -> None:
    with engine.begin() as connection:
        if upgrade.revision_of(connection) == SCHEMA_REVISION:
            return
    with engine.connect().execution_options(**WRITES) as connection, connection.begin():
        upgrade.to_newest(connection, place=place)


def _parse(url: str | URL) -> URL:
    try:
        return server.with_driver(make_url(url))
    except ArgumentError as error:
        raise ConfigError(f"ledger.url {url!r}: use sqlite:///path/to/thoth-watch.db") from error


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError(f"ledger.url {str(url)!r}: use sqlite:///path/to/thoth-watch.db")
    return Path(url.database).absolute()


def _lies_there(path: Path) -> bool:
    """Whether there is a file that may be a ledger. LedgerBroken if it cannot be one."""
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode):
            with path.open("rb") as file:
                beginning = file.read(len(MAGIC))
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
    if beginning != MAGIC:
        raise LedgerBroken(
            f"ledger {path}: is not a SQLite database; name another file in ledger.url"
        )
    return True


def _make(path: Path) -> None:
    """Make a ledger aside and link it to its name, so that nobody ever meets half of one."""
    with translated(str(path)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=".thoth-watch-", dir=path.parent))
        except OSError as error:
            raise RetryLater(
                f"ledger {path}: its folder cannot be written ({error.strerror}); look at its mode"
            ) from error
        try:
            _build(aside / "ledger.db")
            _link(aside / "ledger.db", path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _build(path: Path) -> None:
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA synchronous=FULL")
        plain.execute(f"PRAGMA application_id={APPLICATION_ID}")
    engine = _engine(path, mode="rw", busy_timeout_s=BUSY_TIMEOUT_S)
    try:
        with engine.connect().execution_options(**WRITES) as connection, connection.begin():
            upgrade.to_newest(connection, place=str(path))
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


def _inspect(path: Path, *, busy_timeout_s: float, thorough: bool) -> str:
    """Whose file it is, before anything of ours touches it. The mode in which it can be read."""
    mode = "rw" if thorough else "ro"
    try:
        _look_inside(path, mode=mode, busy_timeout_s=busy_timeout_s, thorough=thorough)
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
        _look_inside(path, mode=mode, busy_timeout_s=busy_timeout_s, thorough=False)
    return mode


def _look_inside(path: Path, *, mode: str, busy_timeout_s: float, thorough: bool) -> None:
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
                raise LedgerBroken(f"ledger {path}: is damaged ({verdict}); {RESTORE}")


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
