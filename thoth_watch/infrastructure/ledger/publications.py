"""Results and their output names: stored and reserved before any file is written, recorded afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from thoth_watch.application.ports.ledger import Claim, NewResult, PublishedResult
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import stored_results
from thoth_watch.infrastructure.ledger.database.tables import files, publications
from thoth_watch.infrastructure.ledger.database.transactions import Transactions, insert_or_ignore
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions, chunks

NOT_YET_PUBLISHED = "transcript stored in the ledger, not yet published"
Held = dict[int, Any]  # id, generation, state and claim number by file id


class Publications(Transactions):
    """The way of a file from CLAIMED through RESULT to DONE or CONFLICT; the claim number rejects stale calls."""

    def owners_of(self, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        """Return by output path: file id, and sha256 of the content written there (None: only reserved)."""
        with self._read_transaction() as connection:
            return _owners(connection, paths)

    def record_results(
        self, claim: Claim, results: Sequence[NewResult], *, run_id: int, now: datetime
    ) -> dict[int, dict[Path, str] | None]:
        """Move files to RESULT: store their transcripts and reserve their output names; see the port."""
        if not results:
            return {}
        with self._write_transaction() as connection:
            held = _lock_held(connection, {r.file_id: claim.claim_no for r in results})
            wanted = [_checked(r) for r in results if r.file_id in held]
            owners = _owners(connection, [path for r in wanted for _, path in r.names])
            reserved = _reserve(connection, wanted, owners, held)
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
            stored_results.store(connection, reserved, run_id=run_id, now=now)
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
        with self._write_transaction() as connection:
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
            mark_written(connection, ended, generations, now=now)
            _release_reserved(connection, [one.file_id for one in ended], keep=())
        return {one.file_id for one in ended}


def _lock_held(connection: Connection, claims: Mapping[int, int]) -> Held:
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


def _owners(connection: Connection, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
    names = publications.c
    return {
        row.path_raw: (row.file_id, row.sha256)
        for chunk in chunks(paths)
        for row in connection.execute(
            select(names.path_raw, names.file_id, names.sha256).where(names.path_raw.in_(chunk))
        )
    }


def _checked(result: NewResult) -> NewResult:
    if len({path for _, path in result.names}) < len(result.names):
        raise ValueError(
            f"file {result.file_id}: two formats share one output name; put {{format}} in it"
        )
    return result


def _reserve(
    connection: Connection,
    wanted: Sequence[NewResult],
    owners: Mapping[Path, tuple[int, str | None]],
    held: Held,
) -> list[NewResult]:
    """Reserve the output names of these results; return those whose names no other recording has.

    Names that a file published before keep their rows, so that an older transcript is known as ours.
    """
    taken = set(owners)
    reserved, new, known = [], [], []
    for r in wanted:
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
    _release_reserved(
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
    lost, inserted = set(), {}
    for row in sorted(rows, key=lambda row: str(row["path"])):  # one order, so that none deadlocks
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
        owners = _owners(connection, [row["_path"] for row in rows])
        for row in rows:
            if owners.get(row["_path"], (row["_file_id"],))[0] != row["_file_id"]:
                raise NameTaken(f"{row['_path']}: is the transcript of another recording")
            if row["_path"] not in owners:
                path = row.pop("_path")
                identity = {"file_id": row.pop("_file_id"), "path": path, "path_raw": path}
                kind = {"format": path.suffix.removeprefix("."), "name_kind": "alternate"}
                connection.execute(insert(publications).values(**identity, **kind, **row))


def _release_reserved(
    connection: Connection, ids: Sequence[int], *, keep: Collection[Path]
) -> None:
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
