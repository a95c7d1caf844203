"""Conversion of rows of `files` into domain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.infrastructure.ledger.database.tables import files

SIGNATURE_COLUMNS = (
    files.c.size_bytes,
    files.c.modified_ns,
    files.c.changed_ns,
    files.c.device_no,
    files.c.inode,
)
WAITING_COLUMNS = (
    files.c.id,
    files.c.inbox_raw,
    files.c.path_raw,
    *SIGNATURE_COLUMNS,
    files.c.duration_s,
    files.c.ready_at,
    files.c.updated_at,
    files.c.attempts,
    files.c.crashes,
    files.c.deaths,
    files.c.setbacks,
)


def signature(row: Any) -> Signature | None:
    """Return the signature of the row's version of the file; None for an entry that is no regular file."""
    return signature_of([row.size_bytes, row.modified_ns, row.changed_ns, row.device_no, row.inode])


def signature_of(facts: Sequence[Any]) -> Signature | None:
    """Return the signature from the values of `SIGNATURE_COLUMNS`; None for a refused entry."""
    return None if facts[0] is None else Signature(*facts)


def signature_columns(value: Signature | None) -> dict[str, Any]:
    """Return the columns that hold a signature, NULL without one."""
    names = ("size_bytes", "modified_ns", "changed_ns", "device_no", "inode")
    if value is None:
        return dict.fromkeys(names)
    values = (
        value.size_bytes,
        value.modified_ns,
        value.changed_ns,
        value.device,
        value.inode,
    )
    return dict(zip(names, values, strict=True))


def waiting_file(row: Any, resolve_file_options: Callable[[AudioFile], Any]) -> WaitingFile:
    """Return the file with the facts that batching needs; raises ValueError for a row without signature."""
    version = signature(row)
    if version is None:
        raise ValueError(f"file {row.id} is waiting but was never a regular file")
    file = AudioFile(row.inbox_raw, row.path_raw, version)
    return WaitingFile(
        file_id=row.id,
        file=file,
        file_options=resolve_file_options(file),
        ready_at_s=(row.ready_at or row.updated_at).timestamp(),
        audio_s=row.duration_s or 0.0,
        attempts=row.attempts,
        crashes=row.crashes,
        deaths=row.deaths,
        setbacks=row.setbacks,
    )
