"""Recovery of the batches, files and runs of dead processes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, not_, or_, select, update

from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import leases
from thoth_watch.infrastructure.ledger.database_clock import database_now
from thoth_watch.infrastructure.ledger.database.tables import BatchState, batches, files, run_files, runs
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions


def close_dead_batches(connection: Connection, *, batch_id: int | None = None) -> None:
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


def recover_claimed_files(
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
        .where(files.c.state == State.CLAIMED, _has_no_open_batch(files.c.batch_id))
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


def close_dead_runs(connection: Connection, *, batch_id: int | None = None, now: datetime) -> None:
    """Mark RUNNING runs without an open batch as INTERRUPTED and record the states of their files.

    Runs under a valid lease are skipped: their worker has closed the batch and is about to close
    the run. batch_id: only the run of that batch.
    """
    held = select(batches.c.id).where(batches.c.lease_until >= database_now(connection))
    running = select(runs.c.id).where(
        runs.c.status == RunStatus.RUNNING,
        _has_no_open_batch(runs.c.batch_id),
        or_(runs.c.batch_id.is_(None), runs.c.batch_id.not_in(held)),
    )
    if batch_id is not None:
        running = running.where(runs.c.batch_id == batch_id)
    for run_id in connection.scalars(running).all():
        _interrupt_run(connection, run_id, now=now)


def _has_no_open_batch(batch_id: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(batch_id.is_(None), batch_id.not_in(select(batches.c.id).where(leases.IS_OPEN)))


def _interrupt_run(connection: Connection, run_id: int, *, now: datetime) -> None:
    columns = (
        files.c.id,
        files.c.path,
        files.c.state,
        files.c.reason,
        files.c.sha256,
        files.c.duration_s,
    )
    rows = connection.execute(select(*columns).where(files.c.run_id == run_id)).all()
    finished = [row for row in rows if row.state in {State.RESULT, State.DONE}]
    closed = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.status == RunStatus.RUNNING)
        .values(
            status=str(RunStatus.INTERRUPTED),
            finished_at=now,
            files_ok=len(finished),
            files_failed=0,
            audio_s=sum(row.duration_s or 0.0 for row in finished),
            error="the program was killed or the machine stopped before the run ended",
        )
    )
    if rows and closed.rowcount:
        connection.execute(insert(run_files), [_run_file_row(run_id, row) for row in rows])


def _run_file_row(run_id: int, row: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "file_id": row.id,
        "path": row.path,
        "state": row.state,
        "reason": row.reason,
        "sha256": row.sha256,
        "duration_s": row.duration_s,
        "reused": False,
    }
