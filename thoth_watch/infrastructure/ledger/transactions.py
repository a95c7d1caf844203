"""Transactions on a ledger that is open, and what every one of them does: move, insert, translate errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, ColumnElement, Connection, Engine, insert, select, update

from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.connection import (
    BUSY_TIMEOUT_S,
    WRITE_OPTIONS,
    LedgerLocation,
    open_for_writing,
)
from thoth_watch.infrastructure.ledger.error_translation import translate_errors
from thoth_watch.infrastructure.ledger.tables import BatchState, batches, files
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions

DEATH_LIMIT = 10  # a person may kill a process often; a file that always does must stop some time


class Transactions:
    """An open ledger: each use of it is one durable transaction."""

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
        """The ledger at a database URL, brought to the newest schema.

        death_limit: the death of a process that quarantines the file it worked on.
        Raises LedgerBroken for what is not a sound ledger of ours, TryLater for what is in the way,
        ConfigError for a URL that names no database.
        """
        found = open_for_writing(url, create=create, busy_timeout_s=busy_timeout_s)
        return cls(*found, death_limit=death_limit)

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
        """A transaction that holds the write lock from its start, on the file that is really there."""
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
    """Move every file that meets a condition; how many."""
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
    """Insert one row; the number that the database gave it."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


def close_batch(connection: Connection, batch_id: int | None, state: BatchState) -> None:
    """A batch that is OPEN is so no more."""
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state == BatchState.OPEN)
        .values(state=str(state))
    )
