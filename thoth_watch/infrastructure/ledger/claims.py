"""Waiting files, and the claim and release of batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select

from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import Batch, WaitingFile
from thoth_watch.domain.states import MAX_RETRY_WAIT_S, State
from thoth_watch.infrastructure.ledger import recovery
from thoth_watch.infrastructure.ledger.database import file_rows
from thoth_watch.infrastructure.ledger.reading.backlog import recent_speed
from thoth_watch.infrastructure.ledger.database.tables import BatchState, batches, files
from thoth_watch.infrastructure.ledger.database.transactions import (
    Transactions,
    apply_transition_where,
    close_batch,
    insert_row,
)
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions, chunks

RUNS_FOR_CURRENT_SPEED = 5  # the device may have changed before these


class Claims(Transactions):
    """Files that wait for a batch, and claimed batches."""

    def requeue_due_retries(self, *, now: datetime) -> int:
        """Move RETRY files that are due to READY; return how many."""
        latest = now + timedelta(seconds=MAX_RETRY_WAIT_S)  # a later time: the clock was set back
        due = and_(
            files.c.state == State.RETRY,
            or_(files.c.next_try_at <= now, files.c.next_try_at > latest),
        )
        with self._read_transaction() as connection:
            if connection.scalar(select(files.c.id).where(due).limit(1)) is None:
                return 0
        with self._write_transaction() as connection:
            return apply_transition_where(
                connection,
                due,
                lambda row: (
                    State.READY,
                    f"retrying after: {row.reason}",
                    {"ready_at": now, "next_try_at": None},
                ),
                now=now,
            )

    def next_retry_at(self) -> datetime | None:
        """Return when the next RETRY file is due; None if there is none."""
        with self._read_transaction() as connection:
            due: datetime | None = connection.scalar(
                select(func.min(files.c.next_try_at)).where(files.c.state == State.RETRY)
            )
        return due

    def waiting(self, resolve_file_options: Callable[[AudioFile], Any]) -> list[WaitingFile]:
        """Return all READY files."""
        query = (
            select(*file_rows.WAITING_COLUMNS)
            .where(files.c.state == State.READY)
            .order_by(files.c.id)
        )
        with self._read_transaction() as connection:
            rows = connection.execute(query).all()
        return [file_rows.waiting_file(row, resolve_file_options) for row in rows]

    def realtime_factor(self) -> float | None:
        """Return seconds of audio per second over the newest runs; None before the first."""
        with self._read_transaction() as connection:
            return recent_speed(connection, n_runs=RUNS_FOR_CURRENT_SPEED)

    def claim(self, batch: Batch, *, owner: str, now: datetime) -> Claim | None:
        """Claim all files of the batch, or none.

        Return None if one of them is no longer READY or has changed.
        """
        wanted = {waiting.file_id: waiting.file.signature for waiting in batch.files}
        columns = (files.c.id, files.c.claim_no, files.c.attempts, *file_rows.SIGNATURE_COLUMNS)
        with self._write_transaction() as connection:
            rows = [
                row
                for chunk in chunks(list(wanted))
                for row in connection.execute(
                    select(*columns)
                    .where(files.c.id.in_(chunk), files.c.state == State.READY)
                    .with_for_update(skip_locked=True)
                )
                if file_rows.signature(row) == wanted[row.id]
            ]
            if not rows or len(rows) < len(wanted):
                return None
            claim_no = 1 + max(row.claim_no for row in rows)
            batch_id = insert_row(
                connection,
                batches,
                owner=owner,
                claimed_at=now,
                claim_no=claim_no,
                state=str(BatchState.OPEN),
            )
            steps = [
                Transition(
                    row.id,
                    row.claim_no,
                    State.READY,
                    State.CLAIMED,
                    f"in batch {batch_id}",
                    {
                        "attempts": row.attempts + 1,
                        "claim_no": claim_no,
                        "batch_id": batch_id,
                    },
                )
                for row in rows
            ]
            apply_transitions(connection, steps, now=now)
        return Claim(batch_id, claim_no, batch)

    def release(self, claim: Claim, *, now: datetime) -> int:
        """Move the batch's CLAIMED files back to READY without counting the attempt; return how many."""
        with self._write_transaction() as connection:
            released = apply_transition_where(
                connection,
                and_(files.c.batch_id == claim.batch_id, files.c.state == State.CLAIMED),
                lambda row: (
                    State.READY,
                    "released before it was started; waiting for a batch",
                    {"attempts": max(0, row.attempts - 1)},
                ),
                now=now,
            )
            close_batch(connection, claim.batch_id, BatchState.RELEASED)
        return released

    def release_dead_claims(self, claim: Claim, *, has_died: bool, now: datetime) -> int:
        """Release a batch whose worker ended without reporting a result; return how many files.

        Its CLAIMED files become READY and its run INTERRUPTED. has_died: count a death for each
        file, as `recover_claims` does; otherwise the attempt is not counted.
        """
        if not has_died:
            released = self.release(claim, now=now)
        with self._write_transaction() as connection:
            recovery.close_dead_batches(connection, batch_id=claim.batch_id)
            recovery.close_dead_runs(connection, batch_id=claim.batch_id, now=now)
            if has_died:
                return recovery.recover_claimed_files(
                    connection,
                    batch_id=claim.batch_id,
                    now=now,
                    death_limit=self.death_limit,
                )
        return released
