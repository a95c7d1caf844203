"""The ledger port on a database: a method per port method, so longer than most modules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from thoth_watch.application.ports import (
    Claim,
    FinishedFile,
    KnownFile,
    StoredResult,
    Unpublished,
)
from thoth_watch.domain.audio import AudioFile, RefusedEntry
from thoth_watch.domain.batching import Batch, WaitingFile
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.run import FileOutcome, Run
from thoth_watch.domain.states import LONGEST_WAIT_S, State
from thoth_watch.domain.transcript import SoFar
from thoth_watch.infrastructure.ledger import (
    listing,
    moved,
    publications,
    recovery,
    rows,
    run_rows,
    stored_results,
    tables,
    unfinished_results,
)
from thoth_watch.infrastructure.ledger import made_by as made_by_
from thoth_watch.infrastructure.ledger.connection import (
    BUSY_TIMEOUT_S,
    WRITES,
    Place,
    open_for_writing,
)
from thoth_watch.infrastructure.ledger.failures import translated
from thoth_watch.infrastructure.ledger.moves import Move, chunks, move, move_all
from thoth_watch.infrastructure.ledger.tables import (
    BatchState,
    batches,
    files,
    run_files,
    runs,
)

RETRYABLE = frozenset({State.FAILED, State.QUARANTINED, State.CONFLICT, State.RETRY})
TRANSCRIBED = frozenset({State.DONE, State.CONFLICT})
FAILURE_STATES = frozenset({State.RETRY, State.FAILED, State.QUARANTINED, State.SEEN, State.GONE})


class SqlLedger:
    """Remembers in SQLite or PostgreSQL; every method is one durable transaction."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self.engine = engine
        self._place = place

    @classmethod
    def open(
        cls, url: str | URL, *, create: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> Self:
        """The ledger at a database URL, brought to the newest schema.

        Raises LedgerBroken for what is not a sound ledger of ours, TryLater for what is in the way,
        ConfigError for a URL that names no database.
        """
        return cls(*open_for_writing(url, create=create, busy_timeout_s=busy_timeout_s))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def check_identity(self) -> None:
        """Raise LedgerBroken if the ledger's file was deleted or replaced since it was opened."""
        self._place.check()

    # What lies in the inbox

    def known(self, inbox: Path) -> dict[Path, KnownFile]:
        """All entries of an inbox that are not GONE, by absolute path."""
        query = select(files.c.path_raw, files.c.id, files.c.state, *rows.SIGNATURE).where(
            files.c.inbox_raw == inbox, files.c.state != State.GONE
        )
        with self._reading() as connection:
            return {
                path: KnownFile(file_id, State(state), rows.signature_of(facts))
                for path, file_id, state, *facts in connection.execute(query)
            }

    def settling(self, inbox: Path) -> set[Path]:
        """The paths of an inbox in state SEEN."""
        query = select(files.c.path_raw).where(
            files.c.state == State.SEEN, files.c.inbox_raw == inbox
        )
        with self._reading() as connection:
            return set(connection.scalars(query))

    def record_listing(
        self,
        *,
        seen: Sequence[tuple[AudioFile, str]],
        ready: Sequence[tuple[AudioFile, float | None]],
        refused: Sequence[RefusedEntry],
        gone: Sequence[Path],
        now: datetime,
    ) -> None:
        """Record what one look changed, all of it or nothing."""
        if not (seen or ready or refused or gone):
            return
        with self._writing() as connection:
            listing.record_seen(connection, seen, now=now)
            listing.record_ready(connection, ready, now=now)
            listing.record_refused(connection, refused, now=now)
            listing.record_gone(connection, gone, now=now)

    def fail_empty(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Give up on zero-byte files that stayed so (SEEN becomes FAILED)."""
        with self._writing() as connection:
            for some in chunks(paths):
                self._move_where(
                    connection,
                    and_(
                        files.c.path_raw.in_(some),
                        files.c.state == State.SEEN,
                        files.c.size_bytes == 0,
                    ),
                    lambda _: (State.FAILED, "the file is empty (0 bytes) and stayed so", {}),
                    now=now,
                )

    # Waiting and claiming

    def wake_retries(self, *, now: datetime) -> int:
        """RETRY files whose time has come become READY; how many."""
        too_late = now + timedelta(seconds=LONGEST_WAIT_S)  # the clock was set back
        due = and_(
            files.c.state == State.RETRY,
            or_(files.c.next_try_at <= now, files.c.next_try_at > too_late),
        )
        with self._reading() as connection:
            if connection.scalar(select(files.c.id).where(due).limit(1)) is None:
                return 0
        with self._writing() as connection:
            return self._move_where(
                connection,
                due,
                lambda row: (
                    State.READY,
                    f"is tried again after: {row.reason}",
                    {"ready_at": now, "next_try_at": None},
                ),
                now=now,
            )

    def next_retry_at(self) -> datetime | None:
        """When the next RETRY is due."""
        with self._reading() as connection:
            due: datetime | None = connection.scalar(
                select(func.min(files.c.next_try_at)).where(files.c.state == State.RETRY)
            )
        return due

    def waiting(self, treatment_of: Callable[[AudioFile], Any]) -> list[WaitingFile]:
        """All READY files."""
        query = select(*rows.WAITING).where(files.c.state == State.READY).order_by(files.c.id)
        with self._reading() as connection:
            found = connection.execute(query).all()
        return [rows.waiting_file(row, treatment_of) for row in found]

    def claim(self, batch: Batch, *, owner: str, now: datetime) -> Claim | None:
        """Take all files of the batch or none (None: one is no longer READY, or another version)."""
        wanted = {waiting.file_id: waiting.file.signature for waiting in batch.files}
        columns = (files.c.id, files.c.claim_no, files.c.attempts, *rows.SIGNATURE)
        with self._writing() as connection:
            found = [
                row
                for some in chunks(list(wanted))
                for row in connection.execute(
                    select(*columns)
                    .where(files.c.id.in_(some), files.c.state == State.READY)
                    .with_for_update()
                )
                if rows.signature(row) == wanted[row.id]
            ]
            if not found or len(found) < len(wanted):
                return None
            claim_no = 1 + max(row.claim_no for row in found)
            batch_id = self._insert(
                connection,
                batches,
                owner=owner,
                claimed_at=now,
                claim_no=claim_no,
                state=str(BatchState.OPEN),
            )
            steps = [
                Move(
                    row.id,
                    row.claim_no,
                    State.READY,
                    State.CLAIMED,
                    f"in batch {batch_id}",
                    {
                        "attempts": row.attempts + 1,
                        "claim_no": claim_no,
                        "batch_id": batch_id,
                    },
                )
                for row in found
            ]
            move_all(connection, steps, now=now)
        return Claim(batch_id, claim_no, batch)

    def release(self, claim: Claim, *, now: datetime) -> int:
        """What is still CLAIMED of the batch becomes READY again, its attempt not counted; how many."""
        with self._writing() as connection:
            released = self._move_where(
                connection,
                and_(files.c.batch_id == claim.batch_id, files.c.state == State.CLAIMED),
                lambda row: (
                    State.READY,
                    "was given back before it was begun; waits for a batch",
                    {"attempts": max(0, row.attempts - 1)},
                ),
                now=now,
            )
            self._close_batch(connection, claim.batch_id, BatchState.RELEASED)
        return released

    # One run

    def open_run(
        self, claim: Claim, *, asked: TranscriptionEngineConfig, placement: Placement, now: datetime
    ) -> int:
        """Start a run row (RUNNING) for the batch; its id."""
        row = run_rows.opening(batch_id=claim.batch_id, asked=asked, placement=placement, now=now)
        with self._writing() as connection:
            run_id = self._insert(connection, runs, **row)
            connection.execute(
                update(files)
                .where(files.c.batch_id == claim.batch_id, files.c.state == State.CLAIMED)
                .values(run_id=run_id)
            )
        return run_id

    def record_failed_start(
        self, *, asked: TranscriptionEngineConfig, error: str, host: str, now: datetime
    ) -> int:
        """A FAILED run row without files: the engine could not be had. Its id."""
        row = run_rows.failed_start(asked=asked, error=error, host=host, now=now)
        with self._writing() as connection:
            return self._insert(connection, runs, **row)

    def close_run(self, run_id: int, run: Run, outcomes: Sequence[FileOutcome]) -> None:
        """Finish the run row and write its `run_files`; a second time replaces the first."""
        by_file = {outcome.file_id: outcome for outcome in outcomes}
        with self._writing() as connection:
            batch_id = connection.scalar(
                update(runs)
                .where(runs.c.id == run_id)
                .values(**run_rows.closing(run))
                .returning(runs.c.batch_id)
            )
            self._close_batch(connection, batch_id, BatchState.CLOSED)
            connection.execute(delete(run_files).where(run_files.c.run_id == run_id))
            for some in chunks(list(by_file)):
                paths = connection.execute(
                    select(files.c.id, files.c.path).where(files.c.id.in_(some))
                ).all()
                connection.execute(
                    insert(run_files),
                    [_run_file(run_id, row.path, by_file[row.id]) for row in paths],
                )

    def find_result(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """An earlier transcript of the same bytes by the same engine and options."""
        with self._reading() as connection:
            return stored_results.find(connection, sha256, fingerprint)

    def find_so_far(self, sha256: str, fingerprint: str) -> SoFar | None:
        """See the port."""
        with self._reading() as connection:
            return unfinished_results.find(connection, sha256, fingerprint)

    def keep_so_far(self, sha256: str, fingerprint: str, so_far: SoFar, *, now: datetime) -> None:
        """See the port."""
        with self._writing() as connection:
            unfinished_results.keep(
                connection, so_far, sha256=sha256, fingerprint=fingerprint, now=now
            )

    def owner_of(self, path: Path) -> tuple[int, str | None] | None:
        """(file id, sha256 of the content written there) of the recording that has that output name."""
        names = tables.publications
        query = select(names.c.file_id, names.c.sha256).where(names.c.path_raw == path)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.file_id, row.sha256)

    def record_result(
        self,
        claim: Claim,
        *,
        file_id: int,
        run_id: int,
        sha256: str,
        fingerprint: str,
        result: StoredResult,
        names: Sequence[tuple[str, Path]],
        name_kind: str,
        now: datetime,
    ) -> bool:
        """CLAIMED becomes RESULT: transcript durable, output names reserved, before anything is written.

        A file that is RESULT by the same claim gets other names. False if the claim is no longer
        ours or the file changed meanwhile: throw the work away. Raises NameTaken, with nothing
        recorded, if another recording has one of the names.
        """
        values = {
            "sha256": sha256,
            "fingerprint": fingerprint,
            "run_id": run_id,
            "duration_s": result.transcript.duration_s,
        }
        reason = "transcript is in the ledger, not yet beside the recording"
        steps = [
            Move(file_id, claim.claim_no, before, State.RESULT, reason, values)
            for before in (State.CLAIMED, State.RESULT)
        ]
        with self._writing() as connection:
            if not any(move(connection, step, now=now) for step in steps):
                return False
            publications.reserve(
                connection,
                names,
                file_id=file_id,
                generation=self._generation(connection, file_id),
                claim_no=claim.claim_no,
                name_kind=name_kind,
            )
            stored_results.keep(
                connection,
                result,
                sha256=sha256,
                fingerprint=fingerprint,
                run_id=run_id,
                now=now,
            )
            unfinished_results.forget(connection, sha256, fingerprint)
        return True

    def record_published(
        self,
        *,
        file_id: int,
        claim_no: int,
        state: State,
        reason: str,
        published: Sequence[tuple[Path, str]],
        now: datetime,
    ) -> bool:
        """RESULT becomes DONE (or CONFLICT): (path, sha256 of content) of each file that lies there now.

        CONFLICT may also come from CLAIMED: a recording for whose transcript there is no name at all.
        """
        if state not in {State.DONE, State.CONFLICT}:
            raise ValueError(f"file {file_id}: publishing ends in DONE or CONFLICT, not {state}")
        values = {
            "done_at": now if state == State.DONE else None,
            "next_try_at": None,
            "setbacks": 0,
        }
        befores = [State.RESULT] if state == State.DONE else [State.RESULT, State.CLAIMED]
        steps = [Move(file_id, claim_no, before, state, reason, values) for before in befores]
        with self._writing() as connection:
            if not any(move(connection, step, now=now) for step in steps):
                return False
            publications.mark_published(
                connection,
                published,
                file_id=file_id,
                generation=self._generation(connection, file_id),
                claim_no=claim_no,
                now=now,
            )
        return True

    def record_failure(
        self, claim: Claim, *, outcome: FileOutcome, run_id: int, now: datetime
    ) -> bool:
        """CLAIMED or RESULT becomes RETRY, FAILED, QUARANTINED, SEEN or GONE, with the reason.

        False if the claim is no longer ours. An attempt that does not count is given back.
        """
        if outcome.state not in FAILURE_STATES:
            raise ValueError(f"file {outcome.file_id}: {outcome.state} is no failure")
        held = and_(
            files.c.id == outcome.file_id,
            files.c.claim_no == claim.claim_no,
            files.c.state.in_([State.CLAIMED, State.RESULT]),
        )
        is_retry = outcome.state == State.RETRY
        known = {"sha256": outcome.sha256, "duration_s": outcome.duration_s}
        with self._writing() as connection:
            moved = self._move_where(
                connection,
                held,
                lambda row: (
                    outcome.state,
                    outcome.reason,
                    {
                        "run_id": run_id,
                        "attempts": max(0, row.attempts - (not outcome.counts_as_attempt)),
                        "crashes": row.crashes + outcome.crashed,
                        "setbacks": 0 if outcome.counts_as_attempt else row.setbacks + 1,
                        "next_try_at": (outcome.next_try_at or now) if is_retry else None,
                        **{name: value for name, value in known.items() if value is not None},
                    },
                ),
                now=now,
            )
            left = select(files.c.id).where(
                files.c.state == State.CLAIMED, files.c.batch_id == claim.batch_id
            )
            if connection.scalar(left.limit(1)) is None:
                self._close_batch(connection, claim.batch_id, BatchState.CLOSED)
        return moved == 1

    # Recordings that are moved when they are done

    def finished(self, inbox: Path) -> list[FinishedFile]:
        """The DONE recordings that lie in an inbox, oldest first."""
        with self._reading() as connection:
            return moved.finished(connection, inbox)

    def has_row(self, path: Path) -> bool:
        """Whether some entry, here or GONE, has that path."""
        query = select(files.c.id).where(files.c.path_raw == path)
        with self._reading() as connection:
            return connection.scalar(query) is not None

    def record_moved(self, done: FinishedFile, *, to: AudioFile, now: datetime) -> bool:
        """A DONE recording lies elsewhere now; False if it is no longer DONE."""
        with self._writing() as connection:
            return moved.record(connection, done, to=to, now=now)

    # Starting again

    def unpublished(self, treatment_of: Callable[[AudioFile], Any]) -> list[Unpublished]:
        """Files in RESULT: published from the ledger, without the engine."""
        with self._reading() as connection:
            return stored_results.unpublished(connection, treatment_of)

    def recover(self, *, now: datetime) -> int:
        """At the start of the only process that works on this ledger: take back what a dead one held.

        CLAIMED files become READY with one death more (QUARANTINED at the tenth), RUNNING runs
        INTERRUPTED. How many files.
        """
        with self._writing() as connection:
            recovery.close_dead_runs(connection, now=now)
            return recovery.take_back_files(connection, now=now)

    def retry(
        self,
        *,
        states: Collection[str] | None = None,
        paths: Collection[Path] | None = None,
        made_by: str | None = None,
        now: datetime | None = None,
    ) -> int:
        """A person wants another try: all files in these states, or those of `paths`; how many.

        Only FAILED, QUARANTINED, CONFLICT and RETRY can be tried again; their counts start at 0.
        made_by: files with a transcript (DONE or CONFLICT) by that model, or model@revision.
        """
        now = now or datetime.now(UTC)
        possible = RETRYABLE if made_by is None else TRANSCRIBED
        asked = possible if states is None else possible.intersection(map(State, states))
        wanted: ColumnElement[bool] = files.c.state.in_(sorted(asked))
        if made_by is not None:
            wanted = and_(wanted, files.c.id.in_(made_by_.files_by(made_by)))
        conditions: list[ColumnElement[bool]] = [wanted]
        if paths is not None:
            conditions = [and_(wanted, files.c.path_raw.in_(some)) for some in chunks(list(paths))]
        with self._writing() as connection:
            return sum(
                self._move_where(connection, condition, _another_try(now, made_by), now=now)
                for condition in conditions
            )

    def adopt(
        self, file: AudioFile, *, sha256: str, published: Sequence[tuple[Path, str]], now: datetime
    ) -> bool:
        """A recording with a transcript of ours that no ledger knows any more is DONE; False if known."""
        with self._writing() as connection:
            file_id = listing.record_adopted(connection, file, sha256=sha256, now=now)
            if file_id is None:
                return False
            publications.mark_published(
                connection, published, file_id=file_id, generation=1, claim_no=0, now=now
            )
        return True

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start, on the file that is really there."""
        with translated(self._place.name):
            self._place.check()
            with (
                self.engine.connect().execution_options(**WRITES) as connection,
                connection.begin(),
            ):
                yield connection
            self._place.check()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self._place.name), self.engine.begin() as connection:
            yield connection

    def _move_where(
        self,
        connection: Connection,
        condition: ColumnElement[bool],
        step_of: Callable[[Any], tuple[State, str, dict[str, Any]]],
        *,
        now: datetime,
    ) -> int:
        """Move every file that meets a condition; how many."""
        columns = (
            files.c.id,
            files.c.claim_no,
            files.c.state,
            files.c.reason,
            files.c.size_bytes,
            files.c.attempts,
            files.c.crashes,
            files.c.setbacks,
        )
        steps = []
        for row in connection.execute(select(*columns).where(condition).with_for_update()):
            after, reason, values = step_of(row)
            steps.append(Move(row.id, row.claim_no, State(row.state), after, reason, values))
        move_all(connection, steps, now=now)
        return len(steps)

    def _insert(self, connection: Connection, table: Any, **values: Any) -> int:
        key = connection.execute(insert(table).values(**values)).inserted_primary_key
        return int(key[0]) if key else 0

    def _generation(self, connection: Connection, file_id: int) -> int:
        query = select(files.c.generation).where(files.c.id == file_id)
        return int(connection.execute(query).scalar_one())

    def _close_batch(self, connection: Connection, batch_id: int | None, state: BatchState) -> None:
        connection.execute(
            update(batches)
            .where(batches.c.id == batch_id, batches.c.state == BatchState.OPEN)
            .values(state=str(state))
        )


def _another_try(
    now: datetime, made_by: str | None
) -> Callable[[Any], tuple[State, str, dict[str, Any]]]:
    fresh = {**listing.UNTRIED, "next_try_at": None, "ready_at": now, "done_at": None}

    def step(row: Any) -> tuple[State, str, dict[str, Any]]:
        after = State.READY if row.size_bytes else State.SEEN
        before = row.reason or f"was made by {made_by}"
        return after, f"a person asked for another try after: {before}", dict(fresh)

    return step


def _run_file(run_id: int, path: str, outcome: FileOutcome) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "file_id": outcome.file_id,
        "path": path,
        "state": str(outcome.state),
        "reason": outcome.reason,
        "sha256": outcome.sha256,
        "duration_s": outcome.duration_s,
        "reused": outcome.reused,
    }
