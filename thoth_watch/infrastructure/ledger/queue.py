"""Files that wait for a batch, the claims of batches, and the recovery of claims whose process died."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, not_, or_, select, update

from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import Batch, WaitingFile
from thoth_watch.domain.states import MAX_RETRY_WAIT_S, State
from thoth_watch.infrastructure.ledger import leases, runs
from thoth_watch.infrastructure.ledger.database import file_rows
from thoth_watch.infrastructure.ledger.database.tables import BatchState, batches, files
from thoth_watch.infrastructure.ledger.database.transactions import (
    Transactions,
    database_now,
    insert_row,
)
from thoth_watch.infrastructure.ledger.transitions import (
    Transition,
    apply_transition_where,
    apply_transitions,
    chunks,
)

RUNS_FOR_CURRENT_SPEED = 5  # the device may have changed before these


class SqlBatchQueue:
    """Files that wait for a batch, and claimed batches."""

    def __init__(self, transactions: Transactions, *, death_limit: int) -> None:
        """death_limit: number of process deaths after which a file is quarantined."""
        self._transactions = transactions
        self.death_limit = death_limit

    def waiting(self, resolve_file_options: Callable[[AudioFile], Any]) -> list[WaitingFile]:
        """Return all READY files."""
        query = (
            select(*file_rows.WAITING_COLUMNS)
            .where(files.c.state == State.READY)
            .order_by(files.c.id)
        )
        with self._transactions.read() as connection:
            rows = connection.execute(query).all()
        return [file_rows.waiting_file(row, resolve_file_options) for row in rows]

    def requeue_due_retries(self, *, now: datetime) -> int:
        """Move RETRY files that are due to READY; return how many."""
        latest = now + timedelta(seconds=MAX_RETRY_WAIT_S)  # a later time: the clock was set back
        due = and_(
            files.c.state == State.RETRY,
            or_(files.c.next_try_at <= now, files.c.next_try_at > latest),
        )
        with self._transactions.read() as connection:
            if connection.scalar(select(files.c.id).where(due).limit(1)) is None:
                return 0
        with self._transactions.write() as connection:
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
        with self._transactions.read() as connection:
            due: datetime | None = connection.scalar(
                select(func.min(files.c.next_try_at)).where(files.c.state == State.RETRY)
            )
        return due

    def realtime_factor(self) -> float | None:
        """Return seconds of audio per second over the newest runs; None before the first."""
        with self._transactions.read() as connection:
            return runs.recent_speed(connection, n_runs=RUNS_FOR_CURRENT_SPEED)

    def claim(self, batch: Batch, *, owner: str, now: datetime) -> Claim | None:
        """Claim all files of the batch, or none.

        Return None if one of them is no longer READY or has changed.
        """
        wanted = {waiting.file_id: waiting.file.signature for waiting in batch.files}
        columns = (files.c.id, files.c.claim_no, files.c.attempts, *file_rows.SIGNATURE_COLUMNS)
        with self._transactions.write() as connection:
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

    def release_dead_claims(self, claim: Claim, *, has_died: bool, now: datetime) -> int:
        """Release a batch whose worker ended without reporting a result; return how many files.

        Its CLAIMED files become READY and its run INTERRUPTED. has_died: count a death for each
        file, as `recover_claims` does; otherwise the attempt is not counted.
        """
        if not has_died:
            with self._transactions.write() as connection:
                released = runs.release_claimed(connection, claim, now=now)
        with self._transactions.write() as connection:
            _close_dead_batches(connection, batch_id=claim.batch_id)
            runs.interrupt_dead_runs(connection, batch_id=claim.batch_id, now=now)
            if has_died:
                return _recover_claimed_files(
                    connection,
                    batch_id=claim.batch_id,
                    now=now,
                    death_limit=self.death_limit,
                )
        return released

    def recover_claims(self, *, now: datetime) -> int:
        """Release the files, runs and batches that dead processes held; return how many files.

        CLAIMED files become READY with one death more (QUARANTINED at the limit), RUNNING runs
        INTERRUPTED. Batches under a valid lease, and those sent to a worker, are skipped.
        """
        with self._transactions.write() as connection:
            _close_dead_batches(connection)
            runs.interrupt_dead_runs(connection, now=now)
            return _recover_claimed_files(connection, now=now, death_limit=self.death_limit)


def _close_dead_batches(connection: Connection, *, batch_id: int | None = None) -> None:
    """Mark OPEN batches as DEAD if they are neither sent nor under a valid lease.

    batch_id: mark only this one, which is known to have ended.
    This is the first step of a recovery: a worker that renews its lease at the same moment either
    finds it gone or is waited for.
    """
    has_ended = not_(leases.is_active(database_now(connection)))
    if batch_id is not None:
        has_ended = batches.c.id == batch_id
    connection.execute(
        update(batches).where(leases.IS_OPEN, has_ended).values(state=str(BatchState.DEAD))
    )


def _recover_claimed_files(
    connection: Connection, *, batch_id: int | None = None, now: datetime, death_limit: int
) -> int:
    """Move CLAIMED files without an open batch to READY; return how many.

    Each gets one death more instead of the attempt; at `death_limit` deaths it becomes QUARANTINED.
    batch_id: only the files of that batch.
    """
    columns = (files.c.id, files.c.claim_no, files.c.attempts, files.c.deaths)
    steps = []
    claimed = (
        select(*columns)
        .where(files.c.state == State.CLAIMED, leases.has_no_open_batch(files.c.batch_id))
        .order_by(files.c.id)
        .with_for_update()
    )
    if batch_id is not None:
        claimed = claimed.where(files.c.batch_id == batch_id)
    for row in connection.execute(claimed):
        deaths = row.deaths + 1
        if deaths >= death_limit:
            after = State.QUARANTINED
            reason = f"the program died {deaths} times while processing this file"
        else:
            after = State.READY
            reason = f"the program died while processing this file ({deaths}); retrying it alone"
        values = {"deaths": deaths, "attempts": max(0, row.attempts - 1)}
        steps.append(Transition(row.id, row.claim_no, State.CLAIMED, after, reason, values))
    apply_transitions(connection, steps, now=now)
    return len(steps)
