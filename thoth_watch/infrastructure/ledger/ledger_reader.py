"""Questions that people ask the ledger, answered without writing to it, while a daemon works or not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, TextClause, func, select, text

from thoth_watch.domain.file_options import matches
from thoth_watch.domain.history import History
from thoth_watch.domain.ledger_stats import LedgerStats
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import provenance
from thoth_watch.infrastructure.ledger.backlog import Backlog, read_backlog
from thoth_watch.infrastructure.ledger.connection import (
    BUSY_TIMEOUT_S,
    LedgerLocation,
    open_for_reading,
)
from thoth_watch.infrastructure.ledger.error_translation import translate_errors
from thoth_watch.infrastructure.ledger.events import EventCursor, read_events
from thoth_watch.infrastructure.ledger.fleet_state import FleetState, read_fleet_state
from thoth_watch.infrastructure.ledger.history import read_history
from thoth_watch.infrastructure.ledger.ledger_stats import read_ledger_stats
from thoth_watch.infrastructure.ledger.tables import (
    files,
    publications,
    results,
    run_files,
    runs,
)

GLOB_CHARACTERS = frozenset("*?[")
INTERNAL_COLUMNS = frozenset({"path_raw", "inbox_raw"})


class LedgerReader:
    """Reads a ledger that is there; rows are dicts with the tables' own column names and aware times."""

    def __init__(self, engine: Engine, location: LedgerLocation) -> None:
        self._engine = engine
        self._location = location

    @classmethod
    def open(cls, url: str | URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Raises TryLater if there is no ledger yet, LedgerBroken if it is not ours or of another version."""
        return cls(*open_for_reading(url, busy_timeout_s=busy_timeout_s))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

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
        """Runs, newest first."""
        query = select(runs).order_by(runs.c.id.desc()).limit(limit)
        if status is not None:
            query = query.where(runs.c.status == status)
        if since is not None:
            query = query.where(runs.c.started_at >= since)
        with self._read_transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @property
    def run_columns(self) -> list[str]:
        """The columns of `runs`, in their order."""
        return [column.name for column in runs.columns]

    def run(self, run_id: int) -> dict[str, Any] | None:
        """One run, with its files under `files`."""
        query = select(run_files).where(run_files.c.run_id == run_id).order_by(run_files.c.path)
        with self._read_transaction() as connection:
            row = (
                connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
            )
            members = [dict(member) for member in connection.execute(query).mappings()]
        return None if row is None else {**row, "files": members}

    def last_run(self) -> dict[str, Any] | None:
        """The newest run."""
        return next(iter(self.runs(1)), None)

    def counts(self) -> dict[State, int]:
        """How many files are in each state; every state is there."""
        query = select(files.c.state, func.count().label("files")).group_by(files.c.state)
        with self._read_transaction() as connection:
            found = {row.state: row.files for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in State}

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
        """Files by path, of these states.

        match: a glob below the inbox as in rules, or a part of the path. reason: a part of the
        reason, any case. since, before: when the state was last changed. verdicts: of their transcripts.
        made_by: the model of their transcripts, or model@revision. Beside the table's columns a row
        has `verdict` and `doubts`, the reasons for it, and `model` and `model_revision`.
        """
        query = (
            select(files, *provenance.PROVENANCE_COLUMNS)
            .outerjoin(results, provenance.IS_RESULT_OF_FILE)
            .order_by(files.c.inbox, files.c.path)
        )
        if states is not None:
            wanted = [states] if isinstance(states, str) else list(states)
            query = query.where(files.c.state.in_(wanted))
        if reason is not None:
            query = query.where(files.c.reason.icontains(reason, autoescape=True))
        if verdicts:
            query = query.where(results.c.verdict.in_(verdicts))
        if made_by is not None:
            query = query.where(provenance.is_made_by(made_by))
        if since is not None:
            query = query.where(files.c.updated_at >= since)
        if before is not None:
            query = query.where(files.c.updated_at < before)
        found: list[dict[str, Any]] = []
        with self._read_transaction() as connection:
            for row in connection.execute(query).mappings():
                if limit is not None and len(found) >= limit:
                    break
                if match is None or _is_match(row["path_raw"], row["inbox_raw"], match):
                    found.append({k: v for k, v in row.items() if k not in INTERNAL_COLUMNS})
        return found

    def backlog(self) -> Backlog:
        """What is still to be transcribed, and how fast the newest runs were."""
        with self._read_transaction() as connection:
            return read_backlog(connection)

    def fleet(self) -> FleetState:
        """Workers elsewhere, and what waits for them."""
        with self._read_transaction() as connection:
            return read_fleet_state(connection)

    def events(
        self, after: EventCursor | None, *, limit: int
    ) -> tuple[list[dict[str, Any]], EventCursor]:
        """What happened to files and runs, oldest first, and where to go on reading.

        Without a cursor: the newest `limit` events. With one: all that came since, at most `limit`
        of each kind.
        """
        with self._read_transaction() as connection:
            return read_events(connection, after, limit=limit)

    def outputs(self, path: str) -> list[str]:
        """Where the transcripts of a recording lie, by its path for people."""
        query = (
            select(publications.c.path)
            .join(files, files.c.id == publications.c.file_id)
            .where(files.c.path == path, publications.c.sha256.is_not(None))
            .order_by(publications.c.path)
        )
        with self._read_transaction() as connection:
            return list(connection.scalars(query))

    def history(self, *, since: datetime | None, now: datetime) -> History:
        """What has happened since then (or ever), as the numbers of a report."""
        with self._read_transaction() as connection:
            return read_history(connection, since=since, now=now)

    def ledger_stats(self, *, is_working: bool) -> LedgerStats:
        """The numbers of now, for metrics."""
        with self._read_transaction() as connection:
            return read_ledger_stats(connection, is_working=is_working)

    def failures(self) -> list[dict[str, Any]]:
        """The view of that name: every file that is not DONE, and why."""
        return self._read_view(text("SELECT * FROM failures"))

    def run_summary(self) -> list[dict[str, Any]]:
        """The view of that name: a readable line per run, oldest first."""
        return self._read_view(text("SELECT * FROM run_summary"))

    def engine_summary(self) -> list[dict[str, Any]]:
        """The view of that name: what each engine, device and precision has done so far."""
        return self._read_view(text("SELECT * FROM engine_summary"))

    def _read_view(self, query: TextClause) -> list[dict[str, Any]]:
        with self._read_transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _read_transaction(self) -> Iterator[Connection]:
        with translate_errors(self._location.name), self._engine.begin() as connection:
            yield connection


def _is_match(path: Path, inbox: Path, pattern: str) -> bool:
    relative = path.relative_to(inbox) if path.is_relative_to(inbox) else path
    if GLOB_CHARACTERS.isdisjoint(pattern):
        return pattern in str(relative) or pattern == str(path)
    return matches(relative, pattern) or matches(path, pattern)
