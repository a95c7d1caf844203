"""Output names and the recordings that own them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.domain.errors import NameTaken
from thoth_watch.infrastructure.ledger.tables import publications
from thoth_watch.infrastructure.ledger.transitions import chunks


def reserve(
    connection: Connection,
    names: Sequence[tuple[str, Path]],
    *,
    file_id: int,
    generation: int,
    claim_no: int,
    name_kind: str,
) -> None:
    """Reserve these names for the file. Raises NameTaken if another recording owns one of them.

    Names under which the file was published keep their rows, so that older transcripts of ours
    are recognized. Raises ValueError if two formats share a name.
    """
    formats = {path: name for name, path in names}
    if len(formats) < len(names):
        raise ValueError(
            f"file {file_id}: two formats share one output name; add {{format}} to the template"
        )
    owner_ids = _owner_ids(connection, list(formats))
    for path, owner_id in owner_ids.items():
        if owner_id != file_id:
            raise NameTaken(f"{path}: belongs to another recording")
    release_reserved(connection, file_id=file_id, keep=formats)
    common = {"name_kind": name_kind, "generation": generation, "claim_no": claim_no}
    for path, format_name in formats.items():
        if path in owner_ids:
            connection.execute(
                update(publications)
                .where(publications.c.path_raw == path)
                .values(format=format_name, **common)
            )
        else:
            columns: dict[str, Any] = {"format": format_name, "path": path, "path_raw": path}
            _insert(connection, file_id=file_id, **columns, **common)


def mark_published(
    connection: Connection,
    published: Sequence[tuple[Path, str]],
    *,
    file_id: int,
    generation: int,
    claim_no: int,
    now: datetime,
) -> None:
    """Record the published files; release the file's names that were reserved but not used.

    Raises NameTaken if another recording owns one of the paths.
    """
    owner_ids = _owner_ids(connection, [path for path, _ in published])
    for path, sha256 in published:
        facts = {
            "sha256": sha256,
            "published_at": now,
            "generation": generation,
            "claim_no": claim_no,
        }
        if path not in owner_ids:  # a name found while publishing
            _insert(
                connection,
                file_id=file_id,
                format=path.suffix.removeprefix("."),
                path=path,
                path_raw=path,
                name_kind="alternate",
                **facts,
            )
        elif owner_ids[path] == file_id:
            connection.execute(
                update(publications).where(publications.c.path_raw == path).values(**facts)
            )
        else:
            raise NameTaken(f"{path}: belongs to another recording")
    release_reserved(connection, file_id=file_id, keep=())


def release_reserved(connection: Connection, *, file_id: int, keep: Iterable[Path]) -> None:
    """Delete the names that the file reserved but never used, except `keep`."""
    connection.execute(
        delete(publications).where(
            publications.c.file_id == file_id,
            publications.c.sha256.is_(None),
            publications.c.path_raw.not_in(list(keep)),
        )
    )


def _insert(connection: Connection, **row: Any) -> None:
    """Insert a name that had no owner. Raises NameTaken if another worker took it meanwhile."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(publications).values(**row).on_conflict_do_nothing()
    if connection.execute(statement.returning(publications.c.id)).first() is None:
        raise NameTaken(f"{row['path']}: belongs to another recording")


def _owner_ids(connection: Connection, paths: Sequence[Path]) -> dict[Path, int]:
    """Return the owners' file ids by output path."""
    columns = (publications.c.path_raw, publications.c.file_id)
    return {
        row.path_raw: row.file_id
        for chunk in chunks(paths)
        for row in connection.execute(select(*columns).where(publications.c.path_raw.in_(chunk)))
    }
