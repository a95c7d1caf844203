"""Partial transcripts of long recordings, from which an interrupted attempt resumes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, select

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.transcript import PartialTranscript
from thoth_watch.infrastructure.ledger.database import transcript_json
from thoth_watch.infrastructure.ledger.database.tables import unfinished


def find(connection: Connection, sha256: str, fingerprint: str) -> PartialTranscript | None:
    """Return the partial transcript of that key, or None."""
    document = connection.scalar(select(unfinished.c.so_far).where(_has_key(sha256, fingerprint)))
    return None if document is None else transcript_json.so_far_from_document(document)


def store(
    connection: Connection,
    so_far: PartialTranscript,
    *,
    sha256: str,
    fingerprint: str,
    now: datetime,
) -> None:
    """Store a partial transcript in place of the previous one of that key."""
    connection.execute(delete(unfinished).where(_has_key(sha256, fingerprint)))
    connection.execute(
        insert(unfinished).values(
            sha256=sha256,
            fingerprint=fingerprint,
            heard_s=so_far.n_samples / SAMPLE_RATE_HZ,
            so_far=transcript_json.so_far_to_document(so_far),
            updated_at=now,
        )
    )


def _has_key(sha256: str, fingerprint: str):  # type: ignore[no-untyped-def]
    return and_(unfinished.c.sha256 == sha256, unfinished.c.fingerprint == fingerprint)
