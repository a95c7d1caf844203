"""Transactions on an open ledger and their common steps: inserts, error translation, the database's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.infrastructure.ledger.database.connection import (
    WRITE_OPTIONS,
    LedgerLocation,
)
from thoth_watch.infrastructure.ledger.database.error_translation import translate_errors


class Transactions:
    """Transactions on one open ledger, until it is closed."""

    def __init__(self, engine: Engine, location: LedgerLocation) -> None:
        self.engine = engine
        self._location = location

    @contextmanager
    def write(self) -> Iterator[Connection]:
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
    def read(self) -> Iterator[Connection]:
        """Yield a transaction that only reads."""
        with translate_errors(self._location.name), self.engine.begin() as connection:
            yield connection

    def check_identity(self) -> None:
        """Raise LedgerBroken if the ledger's file was deleted or replaced since it was opened."""
        self._location.check_identity()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


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
