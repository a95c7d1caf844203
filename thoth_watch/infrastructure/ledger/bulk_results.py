"""Record results and publications of many files in one transaction each, at the cost of one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.application.ports.ledger import Claim, NewResult
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import stored_results
from thoth_watch.infrastructure.ledger.tables import (
    files,
    hearings,
    publications,
    results,
    unfinished,
)
from thoth_watch.infrastructure.ledger.transactions import Transactions
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transitions, chunks

NOT_YET_PUBLISHED = "transcript stored in the ledger, not yet published"


class BulkResults(Transactions):
    """Results and publications of files that finished together."""

    def owners_of(self, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        """Return by output path: file id, and sha256 of the content written there (None: only reserved)."""
        with self._read_transaction() as connection:
            return _owners(connection, paths)

    def record_results(
        self, claim: Claim, results: Sequence[NewResult], *, run_id: int, now: datetime
    ) -> dict[int, dict[Path, str]]:
        """Move files from CLAIMED to RESULT: store their transcripts and reserve their output names.

        Skips files that this claim no longer holds or whose names belong to another recording.
        Return by file id, without the skipped: earlier content under its names, path to sha256.
        """
        if not results:
            return {}
        with self._write_transaction() as connection:
            ids = [result.file_id for result in results]
            generation = _held_generations(connection, ids, State.CLAIMED, claim.claim_no)
            owners = _owners(connection, [path for r in results for _, path in r.names])
            accepted = [
                r
                for r in results
                if r.file_id in generation
                and all(owners.get(p, (r.file_id,))[0] == r.file_id for _, p in r.names)
            ]
            steps = [
                Transition(
                    r.file_id,
                    claim.claim_no,
                    State.CLAIMED,
                    State.RESULT,
                    NOT_YET_PUBLISHED,
                    {
                        "sha256": r.sha256,
                        "fingerprint": r.fingerprint,
                        "run_id": run_id,
                        "duration_s": r.result.transcript.duration_s,
                    },
                )
                for r in accepted
            ]
            apply_transitions(connection, steps, now=now)
            _reserve(connection, accepted, owners, generation, claim_no=claim.claim_no)
            _store_results(connection, accepted, run_id=run_id, now=now)
        written = {path: sha for path, (_, sha) in owners.items() if sha is not None}
        return {
            r.file_id: {path: written[path] for _, path in r.names if path in written}
            for r in accepted
        }

    def record_all_published(
        self,
        published: Mapping[int, Sequence[tuple[Path, str]]],
        *,
        claim_no: int,
        now: datetime,
    ) -> None:
        """Move files from RESULT to DONE, except those that this claim no longer holds."""
        if not published:
            return
        values = {"done_at": now, "next_try_at": None, "setbacks": 0}
        with self._write_transaction() as connection:
            generation = _held_generations(connection, list(published), State.RESULT, claim_no)
            steps = [
                Transition(file_id, claim_no, State.RESULT, State.DONE, "", values)
                for file_id in generation
            ]
            apply_transitions(connection, steps, now=now)
            rows = [
                {
                    "_path": path,
                    "sha256": sha256,
                    "published_at": now,
                    "generation": generation[file_id],
                    "claim_no": claim_no,
                }
                for file_id in generation
                for path, sha256 in published[file_id]
            ]
            if rows:
                connection.execute(_update_publications("sha256", "published_at"), rows)
            _release_reserved(connection, list(generation), keep=())


def _held_generations(
    connection: Connection, ids: Sequence[int], state: State, claim_no: int
) -> dict[int, int]:
    """Lock the files that are in that state under that claim; return their generations by id."""
    return {
        row.id: row.generation
        for chunk in chunks(ids)
        for row in connection.execute(
            select(files.c.id, files.c.generation)
            .where(files.c.id.in_(chunk), files.c.state == state, files.c.claim_no == claim_no)
            .order_by(files.c.id)  # the same locking order everywhere prevents deadlocks
            .with_for_update()
        )
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


def _reserve(
    connection: Connection,
    accepted: Sequence[NewResult],
    owners: Mapping[Path, Any],
    generation: Mapping[int, int],
    *,
    claim_no: int,
) -> None:
    """Reserve the output names of these results."""
    ids = [r.file_id for r in accepted]
    _release_reserved(connection, ids, keep=[path for r in accepted for _, path in r.names])
    new, known = [], []
    for r in accepted:
        common = {
            "generation": generation[r.file_id],
            "claim_no": claim_no,
            "name_kind": r.name_kind,
        }
        for format_name, path in r.names:
            if path in owners:
                known.append({"_path": path, "format": format_name, **common})
            else:
                identity = {"file_id": r.file_id, "path": path, "path_raw": path}
                new.append({**identity, "format": format_name, **common})
    if known:
        connection.execute(_update_publications("format", "name_kind"), known)
    if connection.dialect.name == "sqlite":  # one writer at a time: no name was taken meanwhile
        if new:
            connection.execute(insert(publications), new)
        return
    for row in new:
        names = _insert(connection, publications).values(**row).on_conflict_do_nothing()
        if connection.execute(names.returning(publications.c.id)).first() is None:
            raise NameTaken(f"{row['path']}: another worker just took this name")


def _insert(connection: Connection, table: Any) -> Any:
    """Return an INSERT of the dialect, which supports ON CONFLICT."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _update_publications(*columns: str) -> Any:
    names = (*columns, "generation", "claim_no")
    return (
        update(publications)
        .where(publications.c.path_raw == bindparam("_path"))
        .values({name: bindparam(name) for name in names})
    )


def _release_reserved(connection: Connection, ids: Sequence[int], *, keep: Sequence[Path]) -> None:
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


def _store_results(
    connection: Connection, accepted: Sequence[NewResult], *, run_id: int, now: datetime
) -> None:
    """Store the results whose key is new; delete the partial transcripts that they complete."""
    by_key = {(r.sha256, r.fingerprint): r.result for r in accepted}
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
        new = [
            stored_results.result_row(
                result, sha256=key[0], fingerprint=key[1], run_id=run_id, now=now
            )
            for key, result in by_key.items()
        ]
        # another worker may have stored the same result at the same moment
        connection.execute(_insert(connection, results).on_conflict_do_nothing(), new)


def _is_key_or_part(key: tuple[str, str], sha256: str, fingerprint: str) -> bool:
    """Return True for the key itself and for its parts (one per channel)."""
    return sha256 == key[0] and (fingerprint == key[1] or fingerprint.startswith(f"{key[1]}/"))
