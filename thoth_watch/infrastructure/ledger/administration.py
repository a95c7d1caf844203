"""Changes that a user requests: retries, and the adoption of transcripts into a rebuilt ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, select

from thoth_watch.application.ports.ledger import PublishedResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import inbox, publications
from thoth_watch.infrastructure.ledger.database.tables import files, results
from thoth_watch.infrastructure.ledger.database.transactions import Transactions
from thoth_watch.infrastructure.ledger.results import IS_RESULT_OF_FILE, is_made_by
from thoth_watch.infrastructure.ledger.transitions import apply_transition_where, chunks

RETRYABLE = frozenset({State.FAILED, State.QUARANTINED, State.CONFLICT, State.RETRY})
TRANSCRIBED = frozenset({State.DONE, State.CONFLICT})


class SqlAdministration:
    """Requests of a user: retry recordings, and adopt those that were transcribed before."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

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
            made = select(files.c.id).join(results, IS_RESULT_OF_FILE).where(is_made_by(made_by))
            wanted = and_(wanted, files.c.id.in_(made))
        conditions: list[ColumnElement[bool]] = [wanted]
        if paths is not None:
            conditions = [
                and_(wanted, files.c.path_raw.in_(chunk)) for chunk in chunks(list(paths))
            ]
        with self._transactions.write() as connection:
            return sum(
                apply_transition_where(
                    connection, condition, _retry_transition(now, made_by), now=now
                )
                for condition in conditions
            )

    def adopt(
        self, file: AudioFile, *, sha256: str, published: Sequence[tuple[Path, str]], now: datetime
    ) -> bool:
        """Record as DONE a recording whose transcript of ours exists; return False if it is known already."""
        with self._transactions.write() as connection:
            file_id = inbox.record_adopted(connection, file, sha256=sha256, now=now)
            if file_id is None:
                return False
            done = PublishedResult(file_id, 0, State.DONE, "", tuple(published))
            publications.mark_written(connection, [done], {file_id: 1}, now=now)
        return True


def _retry_transition(
    now: datetime, made_by: str | None
) -> Callable[[Any], tuple[State, str, dict[str, Any]]]:
    reset = {**inbox.ZERO_COUNTERS, "next_try_at": None, "ready_at": now, "done_at": None}

    def step(row: Any) -> tuple[State, str, dict[str, Any]]:
        after = State.READY if row.size_bytes else State.SEEN
        before = row.reason or f"transcribed by {made_by}"
        return after, f"retry requested after: {before}", dict(reset)

    return step
