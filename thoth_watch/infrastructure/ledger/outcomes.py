"""Outcomes of claimed files: a durable result, published transcripts, or a failure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from sqlalchemy import and_, select

from thoth_watch.application.ports.ledger import Claim, StoredResult, UnpublishedResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript
from thoth_watch.infrastructure.ledger import stored_results, unfinished_results
from thoth_watch.infrastructure.ledger.database.tables import BatchState, files
from thoth_watch.infrastructure.ledger.database.transactions import (
    Transactions,
    apply_transition_where,
    close_batch,
)

FAILURE_STATES = frozenset({State.RETRY, State.FAILED, State.QUARANTINED, State.SEEN, State.GONE})


class Outcomes(Transactions):
    """Results, their output names, and failures; the claim number rejects stale ones."""

    def find_result(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """Return an earlier transcript of the same bytes by the same engine and options, or None."""
        with self._read_transaction() as connection:
            return stored_results.find(connection, sha256, fingerprint)

    def find_existing_results(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the (sha256, fingerprint) keys that have a result."""
        with self._read_transaction() as connection:
            return stored_results.existing_keys(connection, keys)

    def find_partial_transcript(self, sha256: str, fingerprint: str) -> PartialTranscript | None:
        """Return the transcript of an interrupted attempt at the same bytes, or None."""
        with self._read_transaction() as connection:
            return unfinished_results.find(connection, sha256, fingerprint)

    def save_partial_transcript(
        self, sha256: str, fingerprint: str, partial: PartialTranscript, *, now: datetime
    ) -> None:
        """Store a partial transcript in place of the previous one of that key."""
        with self._write_transaction() as connection:
            unfinished_results.store(
                connection, partial, sha256=sha256, fingerprint=fingerprint, now=now
            )

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
        with self._write_transaction() as connection:
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
                close_batch(connection, claim.batch_id, BatchState.CLOSED)
        return n_changed == 1

    def unpublished(
        self, resolve_file_options: Callable[[AudioFile], Any]
    ) -> list[UnpublishedResult]:
        """Return the files in RESULT, which can be published from the ledger without the engine."""
        with self._read_transaction() as connection:
            return stored_results.unpublished(connection, resolve_file_options)
