"""Retries: after the death of a process, or on request of a user."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_

from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import provenance, recovery, scan_changes
from thoth_watch.infrastructure.ledger.database.tables import files
from thoth_watch.infrastructure.ledger.database.transactions import Transactions, apply_transition_where
from thoth_watch.infrastructure.ledger.transitions import chunks

RETRYABLE = frozenset({State.FAILED, State.QUARANTINED, State.CONFLICT, State.RETRY})
TRANSCRIBED = frozenset({State.DONE, State.CONFLICT})


class Retries(Transactions):
    """Recovery of claimed files, and retry of failed ones."""

    def recover_claims(self, *, now: datetime) -> int:
        """Release the files, runs and batches that dead processes held; return how many files.

        CLAIMED files become READY with one death more (QUARANTINED at the limit), RUNNING runs
        INTERRUPTED. Batches under a valid lease, and those sent to a worker, are skipped.
        """
        with self._write_transaction() as connection:
            recovery.close_dead_batches(connection)
            recovery.close_dead_runs(connection, now=now)
            return recovery.recover_claimed_files(connection, now=now, death_limit=self.death_limit)

    def retry(
        self,
        *,
        states: Collection[str] | None = None,
        paths: Collection[Path] | None = None,
        made_by: str | None = None,
        now: datetime | None = None,
    ) -> int:
        """Move all files in these states, or those of `paths`, to READY on request; return how many.

        Only FAILED, QUARANTINED, CONFLICT and RETRY can be retried; their counters start at 0.
        made_by: files with a transcript (DONE or CONFLICT) by that model, or model@revision.
        """
        now = now or datetime.now(UTC)
        possible = RETRYABLE if made_by is None else TRANSCRIBED
        selected = possible if states is None else possible.intersection(map(State, states))
        wanted: ColumnElement[bool] = files.c.state.in_(sorted(selected))
        if made_by is not None:
            wanted = and_(wanted, files.c.id.in_(provenance.file_ids_made_by(made_by)))
        conditions: list[ColumnElement[bool]] = [wanted]
        if paths is not None:
            conditions = [
                and_(wanted, files.c.path_raw.in_(chunk)) for chunk in chunks(list(paths))
            ]
        with self._write_transaction() as connection:
            return sum(
                apply_transition_where(
                    connection, condition, _retry_transition(now, made_by), now=now
                )
                for condition in conditions
            )


def _retry_transition(
    now: datetime, made_by: str | None
) -> Callable[[Any], tuple[State, str, dict[str, Any]]]:
    reset = {**scan_changes.ZERO_COUNTERS, "next_try_at": None, "ready_at": now, "done_at": None}

    def step(row: Any) -> tuple[State, str, dict[str, Any]]:
        after = State.READY if row.size_bytes else State.SEEN
        before = row.reason or f"transcribed by {made_by}"
        return after, f"retry requested after: {before}", dict(reset)

    return step
