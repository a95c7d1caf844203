"""Entries of the inboxes: what the ledger knows of them, and what a scan changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, insert, select

from thoth_watch.application.ports.ledger import KnownFile
from thoth_watch.domain.audio import AudioFile, RefusedEntry, Signature
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database import file_rows
from thoth_watch.infrastructure.ledger.database.tables import files
from thoth_watch.infrastructure.ledger.database.transactions import Transactions
from thoth_watch.infrastructure.ledger.transitions import (
    Transition,
    apply_transition_where,
    apply_transitions,
    chunks,
)

CHANGED = "changed on disk; waiting for it to settle"
WAITS_FOR_BATCH = "waiting for a batch"
GONE = "no longer on disk"
ZERO_COUNTERS = {"attempts": 0, "crashes": 0, "deaths": 0, "setbacks": 0}


class SqlInboxLedger:
    """The inbox part of the ledger: one row per entry with an audio extension."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def known_files(self, inbox: Path) -> dict[Path, KnownFile]:
        """Return all entries of an inbox that are not GONE, by absolute path."""
        query = select(
            files.c.path_raw, files.c.id, files.c.state, *file_rows.SIGNATURE_COLUMNS
        ).where(files.c.inbox_raw == inbox, files.c.state != State.GONE)
        with self._transactions.read() as connection:
            return {
                path: KnownFile(file_id, State(state), file_rows.signature_of(facts))
                for path, file_id, state, *facts in connection.execute(query)
            }

    def settling(self, inbox: Path) -> set[Path]:
        """Return the paths of an inbox in state SEEN."""
        query = select(files.c.path_raw).where(
            files.c.state == State.SEEN, files.c.inbox_raw == inbox
        )
        with self._transactions.read() as connection:
            return set(connection.scalars(query))

    def record_listing(
        self,
        *,
        seen: Sequence[tuple[AudioFile, str]],
        ready: Sequence[tuple[AudioFile, float | None]],
        refused: Sequence[RefusedEntry],
        gone: Sequence[Path],
        now: datetime,
    ) -> None:
        """Record the changes that one scan found, all or none."""
        if not (seen or ready or refused or gone):
            return
        with self._transactions.write() as connection:
            for chunk in chunks(seen):  # bounds the memory for many new files
                _record_seen(connection, chunk, now=now)
            _record_ready(connection, ready, now=now)
            _record_refused(connection, refused, now=now)
            _record_gone(connection, gone, now=now)

    def fail_empty_files(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Move zero-byte files that stayed empty from SEEN to FAILED."""
        with self._transactions.write() as connection:
            for chunk in chunks(paths):
                apply_transition_where(
                    connection,
                    and_(
                        files.c.path_raw.in_(chunk),
                        files.c.state == State.SEEN,
                        files.c.size_bytes == 0,
                    ),
                    lambda _: (State.FAILED, "the file stayed empty (0 bytes)", {}),
                    now=now,
                )


def _record_seen(
    connection: Connection, seen: Sequence[tuple[AudioFile, str]], *, now: datetime
) -> None:
    """Insert rows for new files; reset changed ones to SEEN, which fences off work on the old version."""
    known = _rows_by_path(connection, [file.path for file, _ in seen])
    new: list[dict[str, Any]] = []
    steps: list[Transition] = []
    for file, reason in {file.path: (file, reason) for file, reason in seen}.values():
        row = known.get(file.path)
        if row is None:
            new.append(_new_row(file.inbox, file.path, file.signature, now=now, reason=reason))
        elif file_rows.signature(row) != file.signature:
            steps.append(_changed_file(row, file, now=now, reason=reason))
        elif row.state == State.GONE:
            steps.append(_transition(row, State.SEEN, reason, now=now, inbox=file.inbox))
        elif row.state == State.SEEN:
            steps.append(_transition(row, State.SEEN, reason, now=now))
    _insert(connection, new)
    apply_transitions(connection, steps, now=now)


def _record_ready(
    connection: Connection, ready: Sequence[tuple[AudioFile, float | None]], *, now: datetime
) -> None:
    """Move settled files from SEEN to READY; files in other states keep them unless they changed."""
    known = _rows_by_path(connection, [file.path for file, _ in ready])
    new: list[dict[str, Any]] = []
    steps: list[Transition] = []
    for file, declared_s in {file.path: (file, seconds) for file, seconds in ready}.values():
        row = known.get(file.path)
        facts: dict[str, Any] = {"ready_at": now, "duration_s": declared_s, "next_try_at": None}
        if row is None:
            values = _new_row(
                file.inbox, file.path, file.signature, now=now, reason=WAITS_FOR_BATCH
            )
            new.append(values | facts | {"state": str(State.READY)})
        elif row.state == State.SEEN:
            if file_rows.signature(row) != file.signature:
                facts |= file_rows.signature_columns(file.signature) | ZERO_COUNTERS
            steps.append(_transition(row, State.READY, WAITS_FOR_BATCH, now=now, **facts))
        elif file_rows.signature(row) != file.signature:
            steps.append(_changed_file(row, file, now=now, reason=CHANGED))
        elif row.state == State.GONE:
            steps.append(
                _transition(row, State.SEEN, "reappeared; waiting for it to settle", now=now)
            )
    _insert(connection, new)
    apply_transitions(connection, steps, now=now)


def _record_refused(
    connection: Connection, refused: Sequence[RefusedEntry], *, now: datetime
) -> None:
    """Record entries that are no regular files as REFUSED, with the reason."""
    known = _rows_by_path(connection, [entry.path for entry in refused])
    new: list[dict[str, Any]] = []
    steps: list[Transition] = []
    for entry in {entry.path: entry for entry in refused}.values():
        row = known.get(entry.path)
        if row is None:
            values = _new_row(entry.inbox, entry.path, None, now=now, reason=entry.reason)
            new.append(values | {"state": str(State.REFUSED)})
        elif row.state == State.REFUSED:
            steps.append(_transition(row, State.REFUSED, entry.reason, now=now, inbox=entry.inbox))
        else:
            steps.append(
                _transition(
                    row,
                    State.REFUSED,
                    entry.reason,
                    now=now,
                    inbox=entry.inbox,
                    **file_rows.signature_columns(None),
                    **_new_version_columns(row),
                )
            )
    _insert(connection, new)
    apply_transitions(connection, steps, now=now)


def _record_gone(connection: Connection, gone: Collection[Path], *, now: datetime) -> None:
    """Move missing files to GONE; they keep their signature in case they reappear."""
    known = _rows_by_path(connection, list(gone))
    steps = [
        _transition(row, State.GONE, GONE, now=now, next_try_at=None)
        for row in known.values()
        if row.state != State.GONE
    ]
    apply_transitions(connection, steps, now=now)


def record_adopted(
    connection: Connection, file: AudioFile, *, sha256: str, now: datetime
) -> int | None:
    """Insert a DONE row for a recording transcribed before this ledger existed; return its id.

    None if the ledger knows the recording already.
    """
    if _rows_by_path(connection, [file.path]):
        return None
    values = _new_row(file.inbox, file.path, file.signature, now=now, reason="adopted")
    values |= {"state": str(State.DONE), "reason": "", "sha256": sha256, "done_at": now}
    _insert(connection, [values])
    return int(_rows_by_path(connection, [file.path])[file.path].id)


def _rows_by_path(connection: Connection, paths: Sequence[Path]) -> dict[Path, Any]:
    columns = (
        files.c.id,
        files.c.path_raw,
        files.c.state,
        files.c.claim_no,
        files.c.generation,
        *file_rows.SIGNATURE_COLUMNS,
    )
    return {
        row.path_raw: row
        for chunk in chunks(paths)
        for row in connection.execute(
            select(*columns)
            .where(files.c.path_raw.in_(chunk))
            .order_by(files.c.id)  # the same locking order everywhere prevents deadlocks
            .with_for_update()
        )
    }


def _changed_file(row: Any, file: AudioFile, *, now: datetime, reason: str) -> Transition:
    """Return the transition to SEEN of a changed file.

    A file that was still settling keeps its version; one that had settled is a new version.
    """
    values: dict[str, Any] = file_rows.signature_columns(file.signature)
    if row.state != State.SEEN:
        values |= _new_version_columns(row)
    else:
        values |= ZERO_COUNTERS
    return _transition(row, State.SEEN, reason or CHANGED, now=now, inbox=file.inbox, **values)


def _new_version_columns(row: Any) -> dict[str, Any]:
    """Return the columns of a new version, which reset everything known of the old one."""
    return {
        "generation": row.generation + 1,
        "claim_no": row.claim_no + 1,
        "batch_id": None,
        "sha256": None,
        "fingerprint": None,
        "duration_s": None,
        **ZERO_COUNTERS,
        "ready_at": None,
        "done_at": None,
        "next_try_at": None,
    }


def _transition(
    row: Any,
    after: State,
    reason: str,
    *,
    now: datetime,
    inbox: Path | None = None,
    **values: Any,
) -> Transition:
    if inbox is not None:
        values |= {"inbox": inbox, "inbox_raw": inbox}
    return Transition(
        file_id=row.id,
        claim_no=row.claim_no,
        before=State(row.state),
        after=after,
        reason=reason,
        values=values | {"last_seen_at": now} if after != State.GONE else values,
    )


def _new_row(
    inbox: Path, path: Path, signature: Signature | None, *, now: datetime, reason: str
) -> dict[str, Any]:
    return {
        "path": path,
        "path_raw": path,
        "inbox": inbox,
        "inbox_raw": inbox,
        "state": str(State.SEEN),
        "reason": reason.strip() or "new; waiting for it to settle",
        **file_rows.signature_columns(signature),
        "duration_s": None,
        **ZERO_COUNTERS,
        "generation": 1,
        "claim_no": 0,
        "first_seen_at": now,
        "last_seen_at": now,
        "ready_at": None,
        "next_try_at": None,
        "updated_at": now,
    }


def _insert(connection: Connection, new: list[dict[str, Any]]) -> None:
    if new:
        connection.execute(insert(files), new)
