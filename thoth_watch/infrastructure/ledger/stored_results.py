"""Transcripts in the ledger, one per content and fingerprint: stored, found, listed for publishing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, or_, select

from thoth_watch.application.ports.ledger import NewResult, StoredResult, UnpublishedResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import leases
from thoth_watch.infrastructure.ledger.database import file_rows, transcript_json
from thoth_watch.infrastructure.ledger.database.tables import (
    batches,
    files,
    hearings,
    publications,
    results,
    unfinished,
)
from thoth_watch.infrastructure.ledger.database.transactions import insert_or_ignore
from thoth_watch.infrastructure.ledger.transitions import chunks

# built once: runs for every recording, and building it takes longer than executing it
_FIND_QUERY = select(results.c.transcript, results.c.provenance).where(
    results.c.sha256 == bindparam("sha256"), results.c.fingerprint == bindparam("fingerprint")
)
_EXISTING_QUERY = select(results.c.sha256, results.c.fingerprint).where(
    results.c.sha256.in_(bindparam("hashes", expanding=True))
)


def find(connection: Connection, sha256: str, fingerprint: str) -> StoredResult | None:
    """Return the result of that key, or None."""
    key = {"sha256": sha256, "fingerprint": fingerprint}
    row = connection.execute(_FIND_QUERY, key).one_or_none()
    return None if row is None else _result(row)


def existing_keys(
    connection: Connection, keys: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return those of the keys that have a result."""
    existing = {
        (row.sha256, row.fingerprint)
        for chunk in chunks(sorted({sha256 for sha256, _ in keys}))
        for row in connection.execute(_EXISTING_QUERY, {"hashes": chunk})
    }
    return existing & set(keys)


def store(connection: Connection, new: Sequence[NewResult], *, run_id: int, now: datetime) -> None:
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


def unpublished(
    connection: Connection, resolve_file_options: Callable[[AudioFile], Any]
) -> list[UnpublishedResult]:
    """Return the files in RESULT with their transcripts and the names that their last claim reserved.

    Files of a leased batch are left out: its worker publishes them.
    """
    is_result_of_file = and_(
        results.c.sha256 == files.c.sha256, results.c.fingerprint == files.c.fingerprint
    )
    is_not_leased = files.c.batch_id.not_in(select(batches.c.id).where(leases.IS_LEASED))
    rows = connection.execute(
        select(
            *file_rows.WAITING_COLUMNS,
            files.c.claim_no,
            files.c.sha256,
            results.c.transcript,
            results.c.provenance,
        )
        .join(results, is_result_of_file)
        .where(files.c.state == State.RESULT, or_(files.c.batch_id.is_(None), is_not_leased))
        .order_by(files.c.id)
    ).all()
    names = _planned_names(connection)
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


def _planned_names(connection: Connection) -> dict[int, list[Any]]:
    is_planned = and_(
        files.c.id == publications.c.file_id, files.c.claim_no == publications.c.claim_no
    )
    planned: dict[int, list[Any]] = {}
    for name in connection.execute(
        select(publications)
        .join(files, is_planned)
        .where(files.c.state == State.RESULT)
        .order_by(publications.c.id)
    ):
        planned.setdefault(name.file_id, []).append(name)
    return planned


def _result(row: Any) -> StoredResult:
    return StoredResult(transcript_json.transcript_from_document(row.transcript), row.provenance)
