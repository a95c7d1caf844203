"""Output names of results: reserved before any file is written, recorded afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from thoth_watch.application.ports.ledger import NewResult, PublishedResult
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database.tables import files, publications
from thoth_watch.infrastructure.ledger.database.transactions import insert_or_ignore
from thoth_watch.infrastructure.ledger.transitions import chunks

Held = dict[int, Any]  # id, generation, state and claim number by file id


def owners_of(connection: Connection, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
    """Return by output path: file id, and sha256 of the content written there (None: only reserved)."""
    names = publications.c
    return {
        row.path_raw: (row.file_id, row.sha256)
        for chunk in chunks(paths)
        for row in connection.execute(
            select(names.path_raw, names.file_id, names.sha256).where(names.path_raw.in_(chunk))
        )
    }


def reserve(
    connection: Connection,
    wanted: Sequence[NewResult],
    owners: Mapping[Path, tuple[int, str | None]],
    held: Held,
) -> list[NewResult]:
    """Reserve the output names of these results; return those whose names no other recording has.

    Names that a file published before keep their rows, so that an older transcript is known as ours.
    Raises ValueError if two formats of a result share one name.
    """
    taken = set(owners)
    reserved, new, known = [], [], []
    for r in wanted:
        if len({path for _, path in r.names}) < len(r.names):
            raise ValueError(
                f"file {r.file_id}: two formats share one output name; put {{format}} in it"
            )
        row = held[r.file_id]
        common = {
            "generation": row.generation,
            "claim_no": row.claim_no,
            "name_kind": r.name_kind,
        }
        own = {path for _, path in r.names if owners.get(path, (None,))[0] == r.file_id}
        if not taken.isdisjoint({path for _, path in r.names} - own):
            continue
        reserved.append(r)
        for format_name, path in r.names:
            taken.add(path)
            if path in own:
                known.append(
                    {"_path": path, "_file_id": r.file_id, "format": format_name, **common}
                )
            else:
                identity = {"file_id": r.file_id, "path": path, "path_raw": path}
                new.append({**identity, "format": format_name, **common})
    lost = _insert_names(connection, new)
    reserved = [r for r in reserved if r.file_id not in lost]
    release_reserved(
        connection,
        [r.file_id for r in reserved],
        keep=[path for r in reserved for _, path in r.names],
    )
    if known := [row for row in known if row["_file_id"] not in lost]:
        connection.execute(_update_publications("format", "name_kind"), known)
    return reserved


def _insert_names(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """Insert rows of new names; return the ids of files that lost one to another worker, without rows.

    On SQLite a writer is alone, so that no name can have been taken since it was looked up.
    """
    if connection.dialect.name == "sqlite":
        if rows:
            connection.execute(insert(publications), rows)
        return set()
    first_names: dict[int, str] = {}
    for row in rows:
        first_names.setdefault(row["file_id"], str(row["path"]))
    lost, inserted = set(), {}
    # All workers insert the files in this order, so that none deadlocks. The names of one file keep
    # the order of its formats, in which they are published.
    for row in sorted(rows, key=lambda row: first_names[row["file_id"]]):
        statement = insert_or_ignore(connection, publications).values(**row)
        row_id = connection.execute(statement.returning(publications.c.id)).scalar()
        if row_id is None:
            lost.add(row["file_id"])
        else:
            inserted[row_id] = row["file_id"]
    undone = [row_id for row_id, file_id in inserted.items() if file_id in lost]
    for chunk in chunks(undone):
        connection.execute(delete(publications).where(publications.c.id.in_(chunk)))
    return lost


def planned_names(connection: Connection) -> dict[int, list[Any]]:
    """Return by file id the rows of the names that the last claims of the files in RESULT reserved."""
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


def mark_written(
    connection: Connection,
    published: Sequence[PublishedResult],
    generations: Mapping[int, int],
    *,
    now: datetime,
) -> None:
    """Record the content hash of every transcript file that exists now, also under a name not reserved before.

    generations: of the recordings, by file id. Raises NameTaken if another recording has a name.
    """
    rows: list[dict[str, Any]] = [
        {
            "_path": path,
            "_file_id": one.file_id,
            "sha256": sha256,
            "published_at": now,
            "generation": generations[one.file_id],
            "claim_no": one.claim_no,
        }
        for one in published
        for path, sha256 in one.written
    ]
    if rows and connection.execute(
        _update_publications("sha256", "published_at"), rows
    ).rowcount < len(rows):
        owners = owners_of(connection, [row["_path"] for row in rows])
        for row in rows:
            if owners.get(row["_path"], (row["_file_id"],))[0] != row["_file_id"]:
                raise NameTaken(f"{row['_path']}: is the transcript of another recording")
            if row["_path"] not in owners:
                path = row.pop("_path")
                identity = {"file_id": row.pop("_file_id"), "path": path, "path_raw": path}
                kind = {"format": path.suffix.removeprefix("."), "name_kind": "alternate"}
                connection.execute(insert(publications).values(**identity, **kind, **row))


def release_reserved(connection: Connection, ids: Sequence[int], *, keep: Collection[Path]) -> None:
    """Delete the names that these files reserved but never used, except `keep`."""
    kept = set(keep)
    names = publications.c
    unused_ids = [
        row.id
        for chunk in chunks(ids)
        for row in connection.execute(
            select(names.id, names.path_raw).where(names.file_id.in_(chunk), names.sha256.is_(None))
        )
        if row.path_raw not in kept
    ]
    for chunk in chunks(unused_ids):
        connection.execute(delete(publications).where(names.id.in_(chunk)))


def _update_publications(*columns: str) -> Any:
    names = (*columns, "generation", "claim_no")
    return (
        update(publications)
        .where(
            publications.c.path_raw == bindparam("_path"),
            publications.c.file_id == bindparam("_file_id"),
        )
        .values({name: bindparam(name) for name in names})
    )
