"""Rows of runs: opened at the start of a batch, completed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.run import FileOutcome, Run
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import run_rows
from thoth_watch.infrastructure.ledger.database.tables import BatchState, files, run_files, runs
from thoth_watch.infrastructure.ledger.database.transactions import Transactions, close_batch, insert_row
from thoth_watch.infrastructure.ledger.transitions import chunks


class RunRecords(Transactions):
    """The run part of the ledger: one row per batch that was started."""

    def open_run(
        self,
        claim: Claim,
        *,
        requested: TranscriptionEngineConfig,
        placement: Placement,
        now: datetime,
    ) -> int:
        """Insert a RUNNING run row for the batch; return its id."""
        row = run_rows.opening_columns(
            batch_id=claim.batch_id, requested=requested, placement=placement, now=now
        )
        with self._write_transaction() as connection:
            run_id = insert_row(connection, runs, **row)
            connection.execute(
                update(files)
                .where(files.c.batch_id == claim.batch_id, files.c.state == State.CLAIMED)
                .values(run_id=run_id)
            )
        return run_id

    def record_failed_start(
        self, *, requested: TranscriptionEngineConfig, error: str, host: str, now: datetime
    ) -> int:
        """Insert a FAILED run row without files, for an unavailable engine; return its id."""
        row = run_rows.failed_start_columns(requested=requested, error=error, host=host, now=now)
        with self._write_transaction() as connection:
            return insert_row(connection, runs, **row)

    def close_run(self, run_id: int, run: Run, outcomes: Sequence[FileOutcome]) -> None:
        """Complete the run row and write its `run_files`, replacing those of an earlier call."""
        by_file = {outcome.file_id: outcome for outcome in outcomes}
        with self._write_transaction() as connection:
            batch_id = connection.scalar(
                update(runs)
                .where(runs.c.id == run_id)
                .values(**run_rows.closing_columns(run))
                .returning(runs.c.batch_id)
            )
            close_batch(connection, batch_id, BatchState.CLOSED)
            connection.execute(delete(run_files).where(run_files.c.run_id == run_id))
            for chunk in chunks(list(by_file)):
                paths = connection.execute(
                    select(files.c.id, files.c.path).where(files.c.id.in_(chunk))
                ).all()
                connection.execute(
                    insert(run_files),
                    [_run_file(run_id, row.path, by_file[row.id]) for row in paths],
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
