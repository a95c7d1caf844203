"""Provenance of a file's transcript: model, revision and verdict."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, select

from thoth_watch.infrastructure.ledger.database.tables import files, results

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


def is_made_by(text: str) -> ColumnElement[bool]:
    """Return the condition for results of a model, or of `model@revision` (a prefix of the revision)."""
    model, _, revision = text.partition("@")
    return and_(model == _MODEL, _REVISION.startswith(revision, autoescape=True))


def file_ids_made_by(text: str) -> Select[tuple[int]]:
    """Return a query for the ids of the files with such a transcript."""
    return select(files.c.id).join(results, IS_RESULT_OF_FILE).where(is_made_by(text))
