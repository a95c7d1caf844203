"""Transactions on an open ledger and their common steps: transitions, inserts, error translation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, ColumnElement, Connection, Engine, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database.connection import (
    BUSY_TIMEOUT_S,
    WRITE_OPTIONS,
    LedgerLocation,
    open_for_writing,
)
from thoth_watch.infrastructure.ledger.database.error_translation import translate_errors
from thoth_watch.infrastructure.ledger.database.tables import BatchState, batches, files
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions

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


def apply_transition_where(
    connection: Connection,
    condition: ColumnElement[bool],
    next_state_of: Callable[[Any], tuple[State, str, dict[str, Any]]],
    *,
    now: datetime,
) -> int:
    """Apply a transition to every file that meets the condition; return how many."""
    columns = (
        files.c.id,
        files.c.claim_no,
        files.c.state,
        files.c.reason,
        files.c.size_bytes,
        files.c.attempts,
        files.c.crashes,
        files.c.setbacks,
    )
    steps = []
    for row in connection.execute(select(*columns).where(condition).with_for_update()):
        after, reason, values = next_state_of(row)
        steps.append(Transition(row.id, row.claim_no, State(row.state), after, reason, values))
    apply_transitions(connection, steps, now=now)
    return len(steps)


def insert_row(connection: Connection, table: Any, **values: Any) -> int:
    """Insert one row; return its id."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


def insert_or_ignore(connection: Connection, table: Any) -> Any:
    """Return an INSERT that does nothing where such a row exists."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def close_batch(connection: Connection, batch_id: int | None, state: BatchState) -> None:
    """Set the state of a batch that is OPEN."""
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state == BatchState.OPEN)
        .values(state=str(state))
    )
