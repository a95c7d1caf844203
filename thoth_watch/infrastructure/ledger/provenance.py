"""Which model made the transcript of a file, and how far it may be believed."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, select

from thoth_watch.infrastructure.ledger.tables import files, results

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
    """Whether a result is a model's, or by `model@revision` that of a revision that begins so."""
    model, _, revision = text.partition("@")
    return and_(model == _MODEL, _REVISION.startswith(revision, autoescape=True))


def file_ids_made_by(text: str) -> Select[tuple[int]]:
    """The ids of the files whose transcript was made so."""
    return select(files.c.id).join(results, IS_RESULT_OF_FILE).where(is_made_by(text))
