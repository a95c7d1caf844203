"""What a new process does with what a dead one left behind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, not_, or_, select, update

from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import leases
from thoth_watch.infrastructure.ledger.database_clock import database_now
from thoth_watch.infrastructure.ledger.tables import BatchState, batches, files, run_files, runs
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions


def close_dead_batches(connection: Connection, *, batch_id: int | None = None) -> None:
    """Batches that nobody works on, and that no worker is to take, are DEAD: their leases are over.

    batch_id: this one, which is known to have ended.
    First of all: whoever renews a lease at this very moment finds it gone, or is waited for.
    """
    is_over = not_(leases.is_active(database_now(connection)))
    if batch_id is not None:
        is_over = batches.c.id == batch_id
    connection.execute(
        update(batches).where(leases.IS_OPEN, is_over).values(state=str(BatchState.DEAD))
    )


def recover_claimed_files(
    connection: Connection, *, batch_id: int | None = None, now: datetime, death_limit: int
) -> int:
    """CLAIMED files of no open batch (of that one) wait again, their attempt counted as a death instead.

    The one that reaches the limit is the last.
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
            reason = f"the program died {deaths} times while it worked on this file"
        else:
            after = State.READY
            reason = f"the program died while it worked on this file ({deaths}); goes alone now"
        values = {"deaths": deaths, "attempts": max(0, row.attempts - 1)}
        steps.append(Transition(row.id, row.claim_no, State.CLAIMED, after, reason, values))
    apply_transitions(connection, steps, now=now)
    return len(steps)


def close_dead_runs(connection: Connection, *, batch_id: int | None = None, now: datetime) -> None:
    """RUNNING runs of no open batch (of that one) are INTERRUPTED, with what their files had come to.

    Not those whose worker closed the batch a moment ago, and is about to close the run.
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
    left = connection.execute(select(*columns).where(files.c.run_id == run_id)).all()
    finished = [row for row in left if row.state in {State.RESULT, State.DONE}]
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
    if left and closed.rowcount:
        connection.execute(insert(run_files), [_run_file_row(run_id, row) for row in left])


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
