"""Runs of batches: their rows from start to end, and the failures and releases of their files."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.run import FileOutcome, Run, RunStatus
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import leases
from thoth_watch.infrastructure.ledger.database.tables import (
    BatchState,
    batches,
    files,
    run_files,
    runs,
)
from thoth_watch.infrastructure.ledger.database.transactions import (
    Transactions,
    database_now,
    insert_row,
)
from thoth_watch.infrastructure.ledger.transitions import apply_transition_where, chunks

FAILURE_STATES = frozenset({State.RETRY, State.FAILED, State.QUARANTINED, State.SEEN, State.GONE})


class SqlRunLog:
    """The run part of the ledger: one row per batch that was started."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def open_run(
        self,
        claim: Claim,
        *,
        requested: TranscriptionEngineConfig,
        placement: Placement,
        now: datetime,
    ) -> int:
        """Insert a RUNNING run row for the batch; return its id."""
        row = _opening_columns(
            batch_id=claim.batch_id, requested=requested, placement=placement, now=now
        )
        with self._transactions.write() as connection:
            run_id = insert_row(connection, runs, **row)
            connection.execute(
                update(files)
                .where(files.c.batch_id == claim.batch_id, files.c.state == State.CLAIMED)
                .values(run_id=run_id)
            )
        return run_id

    def close_run(self, run_id: int, run: Run, outcomes: Sequence[FileOutcome]) -> None:
        """Complete the run row and write its `run_files`, replacing those of an earlier call."""
        by_file = {outcome.file_id: outcome for outcome in outcomes}
        with self._transactions.write() as connection:
            batch_id = connection.scalar(
                update(runs)
                .where(runs.c.id == run_id)
                .values(**_closing_columns(run))
                .returning(runs.c.batch_id)
            )
            _close_batch(connection, batch_id, BatchState.CLOSED)
            connection.execute(delete(run_files).where(run_files.c.run_id == run_id))
            for chunk in chunks(list(by_file)):
                paths = connection.execute(
                    select(files.c.id, files.c.path).where(files.c.id.in_(chunk))
                ).all()
                connection.execute(
                    insert(run_files),
                    [_run_file(run_id, row.path, by_file[row.id]) for row in paths],
                )

    def record_failed_start(
        self, *, requested: TranscriptionEngineConfig, error: str, host: str, now: datetime
    ) -> int:
        """Insert a FAILED run row without files, for an unavailable engine; return its id."""
        row = _failed_start_columns(requested=requested, error=error, host=host, now=now)
        with self._transactions.write() as connection:
            return insert_row(connection, runs, **row)

    def record_failure(
        self, claim: Claim, *, outcome: FileOutcome, run_id: int, now: datetime
    ) -> bool:
        """Move a file from CLAIMED or RESULT to RETRY, FAILED, QUARANTINED, SEEN or GONE.

        Return False if the claim is no longer ours. An attempt that does not count is subtracted
        again. Raises ValueError for another state.
        """
        if outcome.state not in FAILURE_STATES:
            raise ValueError(f"file {outcome.file_id}: {outcome.state} is not a failure state")
        held = and_(
            files.c.id == outcome.file_id,
            files.c.claim_no == claim.claim_no,
            files.c.state.in_([State.CLAIMED, State.RESULT]),
        )
        is_retry = outcome.state == State.RETRY
        known = {"sha256": outcome.sha256, "duration_s": outcome.duration_s}
        with self._transactions.write() as connection:
            n_changed = apply_transition_where(
                connection,
                held,
                lambda row: (
                    outcome.state,
                    outcome.reason,
                    {
                        "run_id": run_id,
                        "attempts": max(0, row.attempts - (not outcome.counts_as_attempt)),
                        "crashes": row.crashes + outcome.crashed,
                        "setbacks": 0 if outcome.counts_as_attempt else row.setbacks + 1,
                        "next_try_at": (outcome.next_try_at or now) if is_retry else None,
                        **{name: value for name, value in known.items() if value is not None},
                    },
                ),
                now=now,
            )
            remaining = select(files.c.id).where(
                files.c.state == State.CLAIMED, files.c.batch_id == claim.batch_id
            )
            if connection.scalar(remaining.limit(1)) is None:
                _close_batch(connection, claim.batch_id, BatchState.CLOSED)
        return n_changed == 1

    def release(self, claim: Claim, *, now: datetime) -> int:
        """Move the batch's CLAIMED files back to READY without counting the attempt; return how many."""
        with self._transactions.write() as connection:
            return release_claimed(connection, claim, now=now)


def release_claimed(connection: Connection, claim: Claim, *, now: datetime) -> int:
    """Move the batch's CLAIMED files back to READY without counting the attempt; return how many."""
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
    _close_batch(connection, claim.batch_id, BatchState.RELEASED)
    return released


def _close_batch(connection: Connection, batch_id: int | None, state: BatchState) -> None:
    """Set the state of a batch that is OPEN."""
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state == BatchState.OPEN)
        .values(state=str(state))
    )


def recent_speed(connection: Connection, *, n_runs: int) -> float | None:
    """Return seconds of audio per second over the newest runs, without model loading.

    None if there is no such run.
    """
    newest = (
        select(runs.c.audio_s, (runs.c.wall_s - runs.c.load_s).label("worked_s"))
        .where(runs.c.status.in_([RunStatus.DONE, RunStatus.PARTIAL]), runs.c.wall_s > 0)
        .order_by(runs.c.id.desc())
        .limit(n_runs)
        .subquery()
    )
    sums = select(func.sum(newest.c.audio_s), func.sum(newest.c.worked_s))
    audio_s, worked_s = connection.execute(sums).one()
    if not audio_s or not worked_s or worked_s <= 0:
        return None
    return float(audio_s) / float(worked_s)


def interrupt_dead_runs(
    connection: Connection, *, batch_id: int | None = None, now: datetime
) -> None:
    """Mark RUNNING runs without an open batch as INTERRUPTED and record the states of their files.

    Runs under a valid lease are skipped: their worker has closed the batch and is about to close
    the run. batch_id: only the run of that batch.
    """
    held = select(batches.c.id).where(batches.c.lease_until >= database_now(connection))
    running = select(runs.c.id).where(
        runs.c.status == RunStatus.RUNNING,
        leases.has_no_open_batch(runs.c.batch_id),
        or_(runs.c.batch_id.is_(None), runs.c.batch_id.not_in(held)),
    )
    if batch_id is not None:
        running = running.where(runs.c.batch_id == batch_id)
    for run_id in connection.scalars(running).all():
        _interrupt_run(connection, run_id, now=now)


def _interrupt_run(connection: Connection, run_id: int, *, now: datetime) -> None:
    columns = (files.c.id, files.c.state, files.c.reason, files.c.sha256, files.c.duration_s)
    outcomes = [
        (path, FileOutcome(file_id, State(state), *facts))
        for path, file_id, state, *facts in connection.execute(
            select(files.c.path, *columns).where(files.c.run_id == run_id)
        )
    ]
    finished = [one for _, one in outcomes if one.state in {State.RESULT, State.DONE}]
    closed = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.status == RunStatus.RUNNING)
        .values(
            status=str(RunStatus.INTERRUPTED),
            finished_at=now,
            files_ok=len(finished),
            files_failed=0,
            audio_s=sum(one.duration_s or 0.0 for one in finished),
            error="the program was killed or the machine stopped before the run ended",
        )
    )
    if outcomes and closed.rowcount:
        connection.execute(
            insert(run_files), [_run_file(run_id, path, outcome) for path, outcome in outcomes]
        )


def _run_file(run_id: int, path: str, outcome: FileOutcome) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "file_id": outcome.file_id,
        "path": path,
        "state": str(outcome.state),
        "reason": outcome.reason,
        "sha256": outcome.sha256,
        "duration_s": outcome.duration_s,
        "reused": outcome.reused,
    }


def _opening_columns(
    *, batch_id: int, requested: TranscriptionEngineConfig, placement: Placement, now: datetime
) -> dict[str, Any]:
    """Return the columns that are known before the first file is opened."""
    return {
        "batch_id": batch_id,
        "started_at": now,
        "status": str(RunStatus.RUNNING),
        "files_ok": 0,
        "files_failed": 0,
        "fallbacks": [],
        "host": socket.gethostname(),
        **_requested_columns(requested),
        **_placement_columns(placement),
    }


def _failed_start_columns(
    *, requested: TranscriptionEngineConfig, error: str, host: str, now: datetime
) -> dict[str, Any]:
    """Return the columns of a run whose engine was unavailable."""
    return {
        "started_at": now,
        "finished_at": now,
        "status": str(RunStatus.FAILED),
        "files_ok": 0,
        "files_failed": 0,
        "fallbacks": [],
        "versions": {},
        "host": host,
        "error": error,
        **_requested_columns(requested),
    }


def _closing_columns(run: Run) -> dict[str, Any]:
    """Return the columns of a finished run."""
    return {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "status": str(run.status),
        **_requested_columns(run.requested),
        **_placement_columns(run.placement),
        **asdict(run.stages),
        "files_ok": run.files_ok,
        "files_failed": run.files_failed,
        "audio_s": run.audio_s,
        "skipped_share": run.skipped_share,
        "wall_s": run.wall_s,
        "realtime_factor": run.realtime_factor,
        "files_per_min": run.files_per_min,
        "tokens": run.tokens,
        "peak_rss_bytes": run.peak_rss_bytes,
        "peak_gpu_bytes": run.peak_gpu_bytes,
        "fallbacks": [fallback.as_dict() for fallback in run.fallbacks],
        "host": run.host or socket.gethostname(),
        "versions": dict(run.versions or run.placement.versions),
        "error": run.error,
    }


def _requested_columns(requested: TranscriptionEngineConfig) -> dict[str, Any]:
    return {
        "engine_asked": str(requested.engine_type),
        "model_asked": requested.model,
        "device_asked": requested.device,
        "precision_asked": requested.precision if requested.enable_mixed_precision else "float32",
    }


def _placement_columns(placement: Placement) -> dict[str, Any]:
    return {
        "engine": placement.engine,
        "model": placement.model,
        "model_revision": placement.model_revision,
        "device": placement.device,
        "device_name": placement.device_name,
        "precision": placement.precision,
        "mixed_precision": placement.mixed_precision,
        "batch_size": placement.batch_size,
        "num_processes": placement.num_processes,
        "is_main_process": placement.is_main_process,
        "versions": dict(placement.versions),
    }
