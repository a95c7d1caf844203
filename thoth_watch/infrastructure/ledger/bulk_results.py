"""Results and publications of many files in one transaction each: what costs the same as for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.application.ports import Claim, NewResult
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

NOT_YET_PUBLISHED = "transcript is in the ledger, not yet beside the recording"


class BulkResults(Transactions):
    """What has finished together."""

    def owners_of(self, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        """By output path: file id, and sha256 of what is written there."""
        with self._read_transaction() as connection:
            return _owners(connection, paths)

    def record_results(
        self, claim: Claim, results: Sequence[NewResult], *, run_id: int, now: datetime
    ) -> dict[int, dict[Path, str]]:
        """CLAIMED becomes RESULT, for those that are ours and whose names nobody else has; see the port."""
        if not results:
            return {}
        with self._write_transaction() as connection:
            ids = [result.file_id for result in results]
            generation = _held_generations(connection, ids, State.CLAIMED, claim.claim_no)
            owners = _owners(connection, [path for r in results for _, path in r.names])
            taken = [
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
                for r in taken
            ]
            apply_transitions(connection, steps, now=now)
            _reserve(connection, taken, owners, generation, claim_no=claim.claim_no)
            _store_results(connection, taken, run_id=run_id, now=now)
        written = {path: sha for path, (_, sha) in owners.items() if sha is not None}
        return {
            r.file_id: {path: written[path] for _, path in r.names if path in written}
            for r in taken
        }

    def record_all_published(
        self,
        published: Mapping[int, Sequence[tuple[Path, str]]],
        *,
        claim_no: int,
        now: datetime,
    ) -> None:
        """RESULT becomes DONE, for those that are still ours."""
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
    """Generation by id, of the files that are in that state by that claim."""
    return {
        row.id: row.generation
        for some in chunks(ids)
        for row in connection.execute(
            select(files.c.id, files.c.generation)
            .where(files.c.id.in_(some), files.c.state == state, files.c.claim_no == claim_no)
            .order_by(files.c.id)  # all who lock several do so in this order
            .with_for_update()
        )
    }


def _owners(connection: Connection, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
    names = publications.c
    return {
        row.path_raw: (row.file_id, row.sha256)
        for some in chunks(paths)
        for row in connection.execute(
            select(names.path_raw, names.file_id, names.sha256).where(names.path_raw.in_(some))
        )
    }


def _reserve(
    connection: Connection,
    taken: Sequence[NewResult],
    owners: Mapping[Path, Any],
    generation: Mapping[int, int],
    *,
    claim_no: int,
) -> None:
    """Make the names theirs."""
    ids = [r.file_id for r in taken]
    _release_reserved(connection, ids, keep=[path for r in taken for _, path in r.names])
    new, known = [], []
    for r in taken:
        common = {
            "generation": generation[r.file_id],
            "claim_no": claim_no,
            "name_kind": r.name_kind,
        }
        for format_name, path in r.names:
            if path in owners:
                known.append({"_path": path, "format": format_name, **common})
            else:
                whole = {"file_id": r.file_id, "path": path, "path_raw": path}
                new.append({**whole, "format": format_name, **common})
    if known:
        connection.execute(_update_publications("format", "name_kind"), known)
    if connection.dialect.name == "sqlite":  # whoever writes is alone: nobody took one meanwhile
        if new:
            connection.execute(insert(publications), new)
        return
    for row in new:
        names = _insert(connection, publications).values(**row).on_conflict_do_nothing()
        if connection.execute(names.returning(publications.c.id)).first() is None:
            raise NameTaken(f"{row['path']}: another worker took that name just now")


def _insert(connection: Connection, table: Any) -> Any:
    """An INSERT that may be told what to do where there is such a row."""
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
    """Give up the names that these files reserved and never used, but for some."""
    kept = set(keep)
    names = publications.c
    found = [
        row.id
        for some in chunks(ids)
        for row in connection.execute(
            select(names.id, names.path_raw).where(names.file_id.in_(some), names.sha256.is_(None))
        )
        if row.path_raw not in kept
    ]
    for some in chunks(found):
        connection.execute(delete(publications).where(names.id.in_(some)))


def _store_results(
    connection: Connection, taken: Sequence[NewResult], *, run_id: int, now: datetime
) -> None:
    """Store the results whose key is new; what was kept of the recordings half heard is forgotten."""
    by_key = {(r.sha256, r.fingerprint): r.result for r in taken}
    keys = list(by_key)
    for some in chunks(list({sha256 for sha256, _ in keys})):
        for table in (results, unfinished, hearings):
            there = connection.execute(
                select(table.c.sha256, table.c.fingerprint).where(table.c.sha256.in_(some))
            ).all()
            for sha256, fingerprint in there:
                if table is results:
                    by_key.pop((sha256, fingerprint), None)
                elif any(_is_key_or_part(key, sha256, fingerprint) for key in keys):
                    is_it = (table.c.sha256 == sha256, table.c.fingerprint == fingerprint)
                    connection.execute(delete(table).where(*is_it))
    if by_key:
        new = [
            stored_results.result_row(
                result, sha256=key[0], fingerprint=key[1], run_id=run_id, now=now
            )
            for key, result in by_key.items()
        ]
        # another worker may have been as far at the same moment
        connection.execute(_insert(connection, results).on_conflict_do_nothing(), new)


def _is_key_or_part(key: tuple[str, str], sha256: str, fingerprint: str) -> bool:
    """Whether that is the key, or a part of it: one channel's."""
    return sha256 == key[0] and (fingerprint == key[1] or fingerprint.startswith(f"{key[1]}/"))
