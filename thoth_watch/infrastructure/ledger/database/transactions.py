"""Transactions on an open ledger and their common steps: inserts, error translation, the database's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.infrastructure.ledger.database.connection import (
    BUSY_TIMEOUT_S,
    WRITE_OPTIONS,
    LedgerLocation,
    open_for_writing,
)
from thoth_watch.infrastructure.ledger.database.error_translation import translate_errors

DEATH_LIMIT = 10  # tolerates kills by a user; a file that always kills the process must stop


class Transactions:
    """An open ledger; every operation is one durable transaction."""

    def __init__(
        self, engine: Engine, location: LedgerLocation, *, death_limit: int = DEATH_LIMIT
    ) -> None:
        self.engine = engine
        self.death_limit = death_limit
        self._location = location

    @classmethod
    def open(
        cls,
        url: str | URL,
        *,
        create: bool = True,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        death_limit: int = DEATH_LIMIT,
    ) -> Self:
        """Open the ledger at a database URL and upgrade it to the newest schema.

        death_limit: number of process deaths after which a file is quarantined.
        Raises LedgerBroken for anything but an intact ledger of ours, RetryLater for a temporary
        problem, ConfigError for a URL that names no database.
        """
        opened = open_for_writing(url, create=create, busy_timeout_s=busy_timeout_s)
        return cls(*opened, death_limit=death_limit)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def check_identity(self) -> None:
        """Raise LedgerBroken if the ledger's file was deleted or replaced since it was opened."""
        self._location.check_identity()

    @contextmanager
    def _write_transaction(self) -> Iterator[Connection]:
        """Yield a transaction that holds the write lock from its start.

        Before and after it, checks that the ledger's file was not deleted or replaced.
        """
        with translate_errors(self._location.name):
            self._location.check_identity()
            with (
                self.engine.connect().execution_options(**WRITE_OPTIONS) as connection,
                connection.begin(),
            ):
                yield connection
            self._location.check_identity()

    @contextmanager
    def _read_transaction(self) -> Iterator[Connection]:
        with translate_errors(self._location.name), self.engine.begin() as connection:
            yield connection


def insert_row(connection: Connection, table: Any, **values: Any) -> int:
    """Insert one row; return its id."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


def insert_or_ignore(connection: Connection, table: Any) -> Any:
    """Return an INSERT that does nothing where such a row exists."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def database_now(connection: Connection) -> datetime:
    """Return the server's time, the only one that leases are compared with; for SQLite, that of this machine."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)
