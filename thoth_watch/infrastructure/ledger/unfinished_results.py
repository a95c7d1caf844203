"""What was heard of long recordings so far, so that a killed attempt is gone on with."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, or_, select

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.transcript import PartialTranscript
from thoth_watch.infrastructure.ledger import transcript_json
from thoth_watch.infrastructure.ledger.tables import unfinished


def find(connection: Connection, sha256: str, fingerprint: str) -> PartialTranscript | None:
    """What is kept under that key."""
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
    """Put it in the place of what was kept before."""
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


def discard(connection: Connection, sha256: str, fingerprint: str) -> None:
    """There is a whole result now; its parts, whose fingerprints go on behind a slash, are forgotten too."""
    are_parts = unfinished.c.fingerprint.startswith(f"{fingerprint}/", autoescape=True)
    are_its = or_(unfinished.c.fingerprint == fingerprint, are_parts)
    connection.execute(delete(unfinished).where(unfinished.c.sha256 == sha256, are_its))


def _has_key(sha256: str, fingerprint: str):  # type: ignore[no-untyped-def]
    return and_(unfinished.c.sha256 == sha256, unfinished.c.fingerprint == fingerprint)
