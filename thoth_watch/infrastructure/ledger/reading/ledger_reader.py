"""Read-only queries on the ledger, with or without a running daemon."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, TextClause, func, select, text

from thoth_watch.domain.file_options import matches
from thoth_watch.domain.history import History
from thoth_watch.domain.ledger_stats import LedgerStats
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database.connection import (
    BUSY_TIMEOUT_S,
    open_for_reading,
)
from thoth_watch.infrastructure.ledger.database.tables import (
    files,
    publications,
    results,
    run_files,
    runs,
)
from thoth_watch.infrastructure.ledger.database.transactions import Transactions
from thoth_watch.infrastructure.ledger.reading.events import EventCursor, read_events
from thoth_watch.infrastructure.ledger.reading.fleet_state import FleetState, read_fleet_state
from thoth_watch.infrastructure.ledger.reading.statistics import (
    Backlog,
    read_backlog,
    read_history,
    read_ledger_stats,
)
from thoth_watch.infrastructure.ledger.results import (
    IS_RESULT_OF_FILE,
    PROVENANCE_COLUMNS,
    is_made_by,
)

GLOB_CHARACTERS = frozenset("*?[")
INTERNAL_COLUMNS = frozenset({"path_raw", "inbox_raw"})


class LedgerReader:
    """Reads an existing ledger; rows are dicts with the tables' column names and aware times."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    @classmethod
    def open(cls, url: str | URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open the ledger at a database URL, read-only.

        Raises RetryLater if there is none yet, LedgerBroken if it is not ours or of another version.
        """
        return cls(Transactions(*open_for_reading(url, busy_timeout_s=busy_timeout_s)))

    def close(self) -> None:
        """Close all connections."""
        self._transactions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def runs(
        self,
        limit: int | None = None,
        *,
        since: datetime | None = None,
        status: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return runs, newest first."""
        query = select(runs).order_by(runs.c.id.desc()).limit(limit)
        if status is not None:
            query = query.where(runs.c.status == status)
        if since is not None:
            query = query.where(runs.c.started_at >= since)
        with self._transactions.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @property
    def run_columns(self) -> list[str]:
        """The column names of `runs`, in order."""
        return [column.name for column in runs.columns]

    def run(self, run_id: int) -> dict[str, Any] | None:
        """Return one run with its files under `files`; None if there is no such run."""
        query = select(run_files).where(run_files.c.run_id == run_id).order_by(run_files.c.path)
        with self._transactions.read() as connection:
            row = (
                connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
            )
            members = [dict(member) for member in connection.execute(query).mappings()]
        return None if row is None else {**row, "files": members}

    def last_run(self) -> dict[str, Any] | None:
        """Return the newest run; None before the first."""
        return next(iter(self.runs(1)), None)

    def counts(self) -> dict[State, int]:
        """Return the number of files in each state, also 0."""
        query = select(files.c.state, func.count().label("files")).group_by(files.c.state)
        with self._transactions.read() as connection:
            counted = {row.state: row.files for row in connection.execute(query)}
        return {state: counted.get(state, 0) for state in State}

    def files(
        self,
        states: str | Collection[str] | None = None,
        *,
        limit: int | None = None,
        match: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        verdicts: Collection[str] = (),
        made_by: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return files of these states (default: all), sorted by path.

        match: a glob below the inbox as in rules, or a part of the path. reason: a part of the
        reason, ignoring case. since, before: time of the last state change. verdicts: of their transcripts.
        made_by: model of their transcripts, or model@revision. Besides the table's columns a row
        has `verdict`, `doubts` (the reasons for the verdict), `model` and `model_revision`.
        """
        query = (
            select(files, *PROVENANCE_COLUMNS)
            .outerjoin(results, IS_RESULT_OF_FILE)
            .order_by(files.c.inbox, files.c.path)
        )
        if states is not None:
            selected = [states] if isinstance(states, str) else list(states)
            query = query.where(files.c.state.in_(selected))
        if reason is not None:
            query = query.where(files.c.reason.icontains(reason, autoescape=True))
        if verdicts:
            query = query.where(results.c.verdict.in_(verdicts))
        if made_by is not None:
            query = query.where(is_made_by(made_by))
        if since is not None:
            query = query.where(files.c.updated_at >= since)
        if before is not None:
            query = query.where(files.c.updated_at < before)
        rows: list[dict[str, Any]] = []
        with self._transactions.read() as connection:
            for row in connection.execute(query).mappings():
                if limit is not None and len(rows) >= limit:
                    break
                if match is None or _is_match(row["path_raw"], row["inbox_raw"], match):
                    rows.append({k: v for k, v in row.items() if k not in INTERNAL_COLUMNS})
        return rows

    def backlog(self) -> Backlog:
        """Return the backlog and the recent speed."""
        with self._transactions.read() as connection:
            return read_backlog(connection)

    def fleet(self) -> FleetState:
        """Return the state of the dispatcher, the remote workers and their queue."""
        with self._transactions.read() as connection:
            return read_fleet_state(connection)

    def events(
        self, after: EventCursor | None, *, limit: int
    ) -> tuple[list[dict[str, Any]], EventCursor]:
        """Return events of files and runs, oldest first, and the cursor to continue from.

        Without a cursor: the newest `limit` events. With one: the events after it, at most `limit`
        of each kind.
        """
        with self._transactions.read() as connection:
            return read_events(connection, after, limit=limit)

    def outputs(self, path: str) -> list[str]:
        """Return the paths of a recording's published transcripts, by its displayed path."""
        query = (
            select(publications.c.path)
            .join(files, files.c.id == publications.c.file_id)
            .where(files.c.path == path, publications.c.sha256.is_not(None))
            .order_by(publications.c.path)
        )
        with self._transactions.read() as connection:
            return list(connection.scalars(query))

    def history(self, *, since: datetime | None, now: datetime) -> History:
        """Return the numbers of a report since that time, or of the whole history."""
        with self._transactions.read() as connection:
            return read_history(connection, since=since, now=now)

    def ledger_stats(self, *, is_working: bool) -> LedgerStats:
        """Return the current numbers for metrics."""
        with self._transactions.read() as connection:
            return read_ledger_stats(connection, is_working=is_working)

    def failures(self) -> list[dict[str, Any]]:
        """Return the view `failures`: every file that is not DONE, with its reason."""
        return self._read_view(text("SELECT * FROM failures"))

    def run_summary(self) -> list[dict[str, Any]]:
        """Return the view `run_summary`: a readable line per run, oldest first."""
        return self._read_view(text("SELECT * FROM run_summary"))

    def engine_summary(self) -> list[dict[str, Any]]:
        """Return the view `engine_summary`: totals by engine, device and precision."""
        return self._read_view(text("SELECT * FROM engine_summary"))

    def _read_view(self, query: TextClause) -> list[dict[str, Any]]:
        with self._transactions.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _is_match(path: Path, inbox: Path, pattern: str) -> bool:
    relative = path.relative_to(inbox) if path.is_relative_to(inbox) else path
    if GLOB_CHARACTERS.isdisjoint(pattern):
        return pattern in str(relative) or pattern == str(path)
    return matches(relative, pattern) or matches(path, pattern)
