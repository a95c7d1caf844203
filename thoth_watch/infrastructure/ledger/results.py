"""Transcripts by content and fingerprint: stored, found, and published under reserved output names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
)

from thoth_watch.application.ports.ledger import (
    Claim,
    NewResult,
    PublishedResult,
    StoredResult,
    UnpublishedResult,
)
from thoth_watch.domain.audio import SAMPLE_RATE_HZ, AudioFile
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript
from thoth_watch.infrastructure.ledger import leases, publications
from thoth_watch.infrastructure.ledger.database import file_rows, transcript_json
from thoth_watch.infrastructure.ledger.database.tables import (
    batches,
    files,
    hearings,
    results,
    unfinished,
)
from thoth_watch.infrastructure.ledger.database.transactions import Transactions, insert_or_ignore
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions, chunks

NOT_YET_PUBLISHED = "transcript stored in the ledger, not yet published"
# built once: runs for every recording, and building it takes longer than executing it
_FIND_QUERY = select(results.c.transcript, results.c.provenance).where(
    results.c.sha256 == bindparam("sha256"), results.c.fingerprint == bindparam("fingerprint")
)
_EXISTING_QUERY = select(results.c.sha256, results.c.fingerprint).where(
    results.c.sha256.in_(bindparam("hashes", expanding=True))
)
IS_RESULT_OF_FILE = and_(
    results.c.sha256 == files.c.sha256, results.c.fingerprint == files.c.fingerprint
)
_MODEL = results.c.provenance["model"].as_string()
_REVISION = results.c.provenance["model_revision"].as_string()
PROVENANCE_COLUMNS = (
    results.c.verdict,
    results.c.transcript["reasons"].label("doubts"),
    _MODEL.label("model"),
    _REVISION.label("model_revision"),
)


class SqlResults:
    """The way of a file from CLAIMED through RESULT to DONE or CONFLICT; the claim number rejects stale calls."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def find_result(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """Return an earlier transcript of the same bytes by the same engine and options, or None."""
        with self._transactions.read() as connection:
            row = connection.execute(
                _FIND_QUERY, {"sha256": sha256, "fingerprint": fingerprint}
            ).one_or_none()
        return None if row is None else _result(row)

    def find_existing_results(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the (sha256, fingerprint) keys that have a result."""
        with self._transactions.read() as connection:
            existing = {
                (row.sha256, row.fingerprint)
                for chunk in chunks(sorted({sha256 for sha256, _ in keys}))
                for row in connection.execute(_EXISTING_QUERY, {"hashes": chunk})
            }
        return existing & set(keys)

    def find_partial_transcript(self, sha256: str, fingerprint: str) -> PartialTranscript | None:
        """Return the transcript of an interrupted attempt at the same bytes, or None."""
        has_key = (unfinished.c.sha256 == sha256, unfinished.c.fingerprint == fingerprint)
        with self._transactions.read() as connection:
            document = connection.scalar(select(unfinished.c.so_far).where(*has_key))
        return None if document is None else transcript_json.so_far_from_document(document)

    def save_partial_transcript(
        self, sha256: str, fingerprint: str, partial: PartialTranscript, *, now: datetime
    ) -> None:
        """Store a partial transcript in place of the previous one of that key."""
        has_key = (unfinished.c.sha256 == sha256, unfinished.c.fingerprint == fingerprint)
        with self._transactions.write() as connection:
            connection.execute(delete(unfinished).where(*has_key))
            connection.execute(
                insert(unfinished).values(
                    sha256=sha256,
                    fingerprint=fingerprint,
                    heard_s=partial.n_samples / SAMPLE_RATE_HZ,
                    so_far=transcript_json.so_far_to_document(partial),
                    updated_at=now,
                )
            )

    def owners_of(self, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        """Return by output path: file id, and sha256 of the content written there (None: only reserved)."""
        with self._transactions.read() as connection:
            return publications.owners_of(connection, paths)

    def record_results(
        self, claim: Claim, results: Sequence[NewResult], *, run_id: int, now: datetime
    ) -> dict[int, dict[Path, str] | None]:
        """Move files to RESULT: store their transcripts and reserve their output names; see the port."""
        if not results:
            return {}
        with self._transactions.write() as connection:
            held = _lock_held(connection, {r.file_id: claim.claim_no for r in results})
            wanted = [r for r in results if r.file_id in held]
            owners = publications.owners_of(
                connection, [path for r in wanted for _, path in r.names]
            )
            reserved = publications.reserve(connection, wanted, owners, held)
            steps = [
                Transition(
                    r.file_id,
                    claim.claim_no,
                    State(held[r.file_id].state),
                    State.RESULT,
                    NOT_YET_PUBLISHED,
                    {
                        "sha256": r.sha256,
                        "fingerprint": r.fingerprint,
                        "run_id": run_id,
                        "duration_s": r.result.transcript.duration_s,
                    },
                )
                for r in reserved
            ]
            apply_transitions(connection, steps, now=now)
            _store(connection, reserved, run_id=run_id, now=now)
        earlier = {path: sha for path, (_, sha) in owners.items() if sha is not None}
        recorded: dict[int, dict[Path, str] | None] = {r.file_id: None for r in wanted}
        for r in reserved:
            recorded[r.file_id] = {path: earlier[path] for _, path in r.names if path in earlier}
        return recorded

    def record_published(self, published: Sequence[PublishedResult], *, now: datetime) -> set[int]:
        """Move files from RESULT to DONE or CONFLICT, or from CLAIMED to CONFLICT; see the port."""
        for one in published:
            if one.state not in {State.DONE, State.CONFLICT}:
                raise ValueError(
                    f"file {one.file_id}: publishing ends in DONE or CONFLICT, not {one.state}"
                )
        with self._transactions.write() as connection:
            held = _lock_held(connection, {one.file_id: one.claim_no for one in published})
            ended = [
                one
                for one in published
                if one.file_id in held
                and (one.state == State.CONFLICT or held[one.file_id].state == State.RESULT)
            ]
            steps = [
                Transition(
                    one.file_id,
                    one.claim_no,
                    State(held[one.file_id].state),
                    one.state,
                    one.reason,
                    {
                        "done_at": now if one.state == State.DONE else None,
                        "next_try_at": None,
                        "setbacks": 0,
                    },
                )
                for one in ended
            ]
            apply_transitions(connection, steps, now=now)
            generations = {one.file_id: held[one.file_id].generation for one in ended}
            publications.mark_written(connection, ended, generations, now=now)
            publications.release_reserved(connection, [one.file_id for one in ended], keep=())
        return {one.file_id for one in ended}

    def unpublished(
        self, resolve_file_options: Callable[[AudioFile], Any]
    ) -> list[UnpublishedResult]:
        """Return the files in RESULT with their transcripts and the names that their last claim reserved.

        Files of a leased batch are left out: its worker publishes them.
        """
        is_not_leased = files.c.batch_id.not_in(select(batches.c.id).where(leases.IS_LEASED))
        query = (
            select(
                *file_rows.WAITING_COLUMNS,
                files.c.claim_no,
                files.c.sha256,
                results.c.transcript,
                results.c.provenance,
            )
            .join(results, IS_RESULT_OF_FILE)
            .where(files.c.state == State.RESULT, or_(files.c.batch_id.is_(None), is_not_leased))
            .order_by(files.c.id)
        )
        with self._transactions.read() as connection:
            rows = connection.execute(query).all()
            names = publications.planned_names(connection)
        return [
            UnpublishedResult(
                waiting=file_rows.waiting_file(row, resolve_file_options),
                claim_no=row.claim_no,
                sha256=row.sha256,
                result=_result(row),
                names=tuple((name.format, name.path_raw) for name in names.get(row.id, [])),
                name_kind=names[row.id][0].name_kind if row.id in names else "stem",
            )
            for row in rows
        ]


def _lock_held(connection: Connection, claims: Mapping[int, int]) -> publications.Held:
    """Lock the files that are CLAIMED or RESULT under these claim numbers; return their rows by id."""
    columns = (files.c.id, files.c.generation, files.c.state, files.c.claim_no)
    return {
        row.id: row
        for chunk in chunks(sorted(claims))
        for row in connection.execute(
            select(*columns)
            .where(files.c.id.in_(chunk), files.c.state.in_([State.CLAIMED, State.RESULT]))
            # every transaction locks rows in this order, so that none deadlocks
            .order_by(files.c.id)
            .with_for_update()
        )
        if row.claim_no == claims[row.id]
    }


def _store(connection: Connection, new: Sequence[NewResult], *, run_id: int, now: datetime) -> None:
    """Store the results whose key is new; delete the partial transcripts and reservations they complete."""
    by_key = {(r.sha256, r.fingerprint): r.result for r in new}
    keys = list(by_key)
    for chunk in chunks(list({sha256 for sha256, _ in keys})):
        for table in (results, unfinished, hearings):
            existing = connection.execute(
                select(table.c.sha256, table.c.fingerprint).where(table.c.sha256.in_(chunk))
            ).all()
            for sha256, fingerprint in existing:
                if table is results:
                    by_key.pop((sha256, fingerprint), None)
                elif any(_is_key_or_part(key, sha256, fingerprint) for key in keys):
                    has_key = (table.c.sha256 == sha256, table.c.fingerprint == fingerprint)
                    connection.execute(delete(table).where(*has_key))
    if by_key:
        rows = [
            _result_row(result, sha256=key[0], fingerprint=key[1], run_id=run_id, now=now)
            for key, result in by_key.items()
        ]
        # another worker may have stored the same result at the same moment
        connection.execute(insert_or_ignore(connection, results), rows)


def _is_key_or_part(key: tuple[str, str], sha256: str, fingerprint: str) -> bool:
    """Return True for the key itself and for its parts (one per channel)."""
    return sha256 == key[0] and (fingerprint == key[1] or fingerprint.startswith(f"{key[1]}/"))


def _result_row(
    result: StoredResult, *, sha256: str, fingerprint: str, run_id: int, now: datetime
) -> dict[str, Any]:
    """Return the columns of a result's row."""
    transcript = result.transcript
    return {
        "sha256": sha256,
        "fingerprint": fingerprint,
        "transcript": transcript_json.transcript_to_document(transcript),
        "provenance": dict(result.provenance),
        "run_id": run_id,
        "created_at": now,
        "language": transcript.language,
        "verdict": str(transcript.verdict),
        "duration_s": transcript.duration_s,
    }


def _result(row: Any) -> StoredResult:
    return StoredResult(transcript_json.transcript_from_document(row.transcript), row.provenance)


def is_made_by(text: str) -> ColumnElement[bool]:
    """Return the condition for results of a model, or of `model@revision` (a prefix of the revision)."""
    model, _, revision = text.partition("@")
    return and_(model == _MODEL, _REVISION.startswith(revision, autoescape=True))
