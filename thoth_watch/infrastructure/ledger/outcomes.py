"""Outcomes of claimed files: a durable result, published transcripts, or a failure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, select

from thoth_watch.application.ports.ledger import Claim, StoredResult, UnpublishedResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript
from thoth_watch.infrastructure.ledger import (
    leases,
    publications,
    stored_results,
    unfinished_results,
)
from thoth_watch.infrastructure.ledger.tables import BatchState, files
from thoth_watch.infrastructure.ledger.tables import publications as names_table
from thoth_watch.infrastructure.ledger.transactions import (
    Transactions,
    apply_transition_where,
    close_batch,
)
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transition

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

    def owner_of(self, path: Path) -> tuple[int, str | None] | None:
        """Return the owner of an output name: file id, and sha256 of the content written there."""
        names = names_table
        query = select(names.c.file_id, names.c.sha256).where(names.c.path_raw == path)
        with self._read_transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.file_id, row.sha256)

    def record_result(
        self,
        claim: Claim,
        *,
        file_id: int,
        run_id: int,
        sha256: str,
        fingerprint: str,
        result: StoredResult,
        names: Sequence[tuple[str, Path]],
        name_kind: str,
        now: datetime,
    ) -> bool:
        """Move a file from CLAIMED to RESULT: store its transcript and reserve its output names.

        This happens before any file is written. A file in RESULT by the same claim gets the new
        names. Return False if the claim is no longer ours or the file has changed: discard the
        result. Raises NameTaken, with nothing recorded, if another recording owns a name.
        """
        values = {
            "sha256": sha256,
            "fingerprint": fingerprint,
            "run_id": run_id,
            "duration_s": result.transcript.duration_s,
        }
        reason = "transcript stored in the ledger, not yet published"
        steps = [
            Transition(file_id, claim.claim_no, before, State.RESULT, reason, values)
            for before in (State.CLAIMED, State.RESULT)
        ]
        with self._write_transaction() as connection:
            if not any(apply_transition(connection, step, now=now) for step in steps):
                return False
            publications.reserve(
                connection,
                names,
                file_id=file_id,
                generation=_generation(connection, file_id),
                claim_no=claim.claim_no,
                name_kind=name_kind,
            )
            stored_results.store(
                connection,
                result,
                sha256=sha256,
                fingerprint=fingerprint,
                run_id=run_id,
                now=now,
            )
            unfinished_results.discard(connection, sha256, fingerprint)
            leases.delete_hearing(connection, sha256, fingerprint)
        return True

    def record_published(
        self,
        *,
        file_id: int,
        claim_no: int,
        state: State,
        reason: str,
        published: Sequence[tuple[Path, str]],
        now: datetime,
    ) -> bool:
        """Move a file from RESULT to DONE or CONFLICT; return False if the claim is no longer ours.

        published: (path, sha256 of content) of each transcript file that exists now. A file for
        whose transcript no name is free moves from CLAIMED to CONFLICT. Raises ValueError for
        another state.
        """
        if state not in {State.DONE, State.CONFLICT}:
            raise ValueError(f"file {file_id}: publishing ends in DONE or CONFLICT, not {state}")
        values = {
            "done_at": now if state == State.DONE else None,
            "next_try_at": None,
            "setbacks": 0,
        }
        befores = [State.RESULT] if state == State.DONE else [State.RESULT, State.CLAIMED]
        steps = [Transition(file_id, claim_no, before, state, reason, values) for before in befores]
        with self._write_transaction() as connection:
            if not any(apply_transition(connection, step, now=now) for step in steps):
                return False
            publications.mark_published(
                connection,
                published,
                file_id=file_id,
                generation=_generation(connection, file_id),
                claim_no=claim_no,
                now=now,
            )
        return True

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


def _generation(connection: Connection, file_id: int) -> int:
    query = select(files.c.generation).where(files.c.id == file_id)
    return int(connection.execute(query).scalar_one())
