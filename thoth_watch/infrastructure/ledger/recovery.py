"""What a new process does with what a dead one left behind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.moves import Move, move_all
from thoth_watch.infrastructure.ledger.tables import BatchState, batches, files, run_files, runs

DEATH_LIMIT = 10  # a person may kill a process often; a file that always does must stop some time


def take_back_files(connection: Connection, *, batch_id: int | None = None, now: datetime) -> int:
    """CLAIMED files (of one batch) wait again, their attempt counted as a death; the tenth is the last."""
    columns = (files.c.id, files.c.claim_no, files.c.attempts, files.c.deaths)
    steps = []
    claimed = select(*columns).where(files.c.state == State.CLAIMED).with_for_update()
    if batch_id is not None:
        claimed = claimed.where(files.c.batch_id == batch_id)
    for row in connection.execute(claimed):
        deaths = row.deaths + 1
        if deaths >= DEATH_LIMIT:
            after = State.QUARANTINED
            reason = f"the program died {deaths} times while it worked on this file"
        else:
            after = State.READY
            reason = f"the program died while it worked on this file ({deaths}); goes alone now"
        values = {"deaths": deaths, "attempts": max(0, row.attempts - 1)}
        steps.append(Move(row.id, row.claim_no, State.CLAIMED, after, reason, values))
    move_all(connection, steps, now=now)
    return len(steps)


def close_dead_runs(connection: Connection, *, batch_id: int | None = None, now: datetime) -> None:
    """RUNNING runs (of one batch) are INTERRUPTED, with what their files had come to; batches are closed."""
    running = select(runs.c.id).where(runs.c.status == RunStatus.RUNNING)
    open_ones = update(batches).where(batches.c.state == BatchState.OPEN)
    if batch_id is not None:
        running = running.where(runs.c.batch_id == batch_id)
        open_ones = open_ones.where(batches.c.id == batch_id)
    for run_id in connection.scalars(running).all():
        _close_dead_run(connection, run_id, now=now)
    connection.execute(open_ones.values(state=str(BatchState.DEAD)))


def _close_dead_run(connection: Connection, run_id: int, *, now: datetime) -> None:
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
    if left:
        connection.execute(insert(run_files), [_left_by(run_id, row) for row in left])
    connection.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            status=str(RunStatus.INTERRUPTED),
            finished_at=now,
            files_ok=len(finished),
            files_failed=0,
            audio_s=sum(row.duration_s or 0.0 for row in finished),
            error="the program was killed or the machine stopped before the run ended",
        )
    )


def _left_by(run_id: int, row: Any) -> dict[str, Any]:
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
