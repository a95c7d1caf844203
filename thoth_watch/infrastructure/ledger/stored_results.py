"""Transcripts in the ledger: kept once per content and engine, found again, and handed out to be published."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.application.ports import StoredResult, UnpublishedResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import file_rows, leases, transcript_json
from thoth_watch.infrastructure.ledger.tables import batches, files, publications, results
from thoth_watch.infrastructure.ledger.transitions import chunks

# built once: it is asked for every recording, and building it would take longer than the database does
_FIND_QUERY = select(results.c.transcript, results.c.provenance).where(
    results.c.sha256 == bindparam("sha256"), results.c.fingerprint == bindparam("fingerprint")
)
_EXISTING_QUERY = select(results.c.sha256, results.c.fingerprint).where(
    results.c.sha256.in_(bindparam("some", expanding=True))
)


def find(connection: Connection, sha256: str, fingerprint: str) -> StoredResult | None:
    """The result of that key."""
    key = {"sha256": sha256, "fingerprint": fingerprint}
    row = connection.execute(_FIND_QUERY, key).one_or_none()
    return None if row is None else _result(row)


def existing_keys(
    connection: Connection, keys: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those of the keys that have a result."""
    found = {
        (row.sha256, row.fingerprint)
        for some in chunks(sorted({sha256 for sha256, _ in keys}))
        for row in connection.execute(_EXISTING_QUERY, {"some": some})
    }
    return found & set(keys)


def store(
    connection: Connection,
    result: StoredResult,
    *,
    sha256: str,
    fingerprint: str,
    run_id: int,
    now: datetime,
) -> None:
    """Store a result, unless there is one of that key already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = result_row(result, sha256=sha256, fingerprint=fingerprint, run_id=run_id, now=now)
    # another worker may have been as far at the same moment
    connection.execute(dialect.insert(results).values(**row).on_conflict_do_nothing())


def result_row(
    result: StoredResult, *, sha256: str, fingerprint: str, run_id: int, now: datetime
) -> dict[str, Any]:
    """The row of a result."""
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
    """Files in RESULT with what is to be written, and the names that their last claim reserved.

    Not those that a worker has under a lease: it publishes them itself.
    """
    is_its = and_(results.c.sha256 == files.c.sha256, results.c.fingerprint == files.c.fingerprint)
    is_left = files.c.batch_id.not_in(select(batches.c.id).where(leases.IS_LEASED))
    found = connection.execute(
        select(
            *file_rows.WAITING_COLUMNS,
            files.c.claim_no,
            files.c.sha256,
            results.c.transcript,
            results.c.provenance,
        )
        .join(results, is_its)
        .where(files.c.state == State.RESULT, or_(files.c.batch_id.is_(None), is_left))
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
        for row in found
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
