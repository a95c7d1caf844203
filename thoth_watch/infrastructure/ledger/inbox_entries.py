"""Rows of the inbox's entries: what the ledger knows of them, and what a scan changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import and_, select

from thoth_watch.application.ports.ledger import FinishedFile, KnownFile, PublishedResult
from thoth_watch.domain.audio import AudioFile, RefusedEntry
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import archive, publications, scan_changes
from thoth_watch.infrastructure.ledger.database import file_rows
from thoth_watch.infrastructure.ledger.database.tables import files
from thoth_watch.infrastructure.ledger.database.transactions import Transactions, apply_transition_where
from thoth_watch.infrastructure.ledger.transitions import chunks


class InboxEntries(Transactions):
    """The inbox part of the ledger: one row per entry with an audio extension."""

    def known_files(self, inbox: Path) -> dict[Path, KnownFile]:
        """Return all entries of an inbox that are not GONE, by absolute path."""
        query = select(
            files.c.path_raw, files.c.id, files.c.state, *file_rows.SIGNATURE_COLUMNS
        ).where(files.c.inbox_raw == inbox, files.c.state != State.GONE)
        with self._read_transaction() as connection:
            return {
                path: KnownFile(file_id, State(state), file_rows.signature_of(facts))
                for path, file_id, state, *facts in connection.execute(query)
            }

    def settling(self, inbox: Path) -> set[Path]:
        """Return the paths of an inbox in state SEEN."""
        query = select(files.c.path_raw).where(
            files.c.state == State.SEEN, files.c.inbox_raw == inbox
        )
        with self._read_transaction() as connection:
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
        """Record the changes that one scan found, all or none."""
        if not (seen or ready or refused or gone):
            return
        with self._write_transaction() as connection:
            for chunk in chunks(seen):  # bounds the memory for many new files
                scan_changes.record_seen(connection, chunk, now=now)
            scan_changes.record_ready(connection, ready, now=now)
            scan_changes.record_refused(connection, refused, now=now)
            scan_changes.record_gone(connection, gone, now=now)

    def fail_empty_files(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Move zero-byte files that stayed empty from SEEN to FAILED."""
        with self._write_transaction() as connection:
            for chunk in chunks(paths):
                apply_transition_where(
                    connection,
                    and_(
                        files.c.path_raw.in_(chunk),
                        files.c.state == State.SEEN,
                        files.c.size_bytes == 0,
                    ),
                    lambda _: (State.FAILED, "the file stayed empty (0 bytes)", {}),
                    now=now,
                )

    def finished(self, inbox: Path) -> list[FinishedFile]:
        """Return the DONE recordings in an inbox, oldest first."""
        with self._read_transaction() as connection:
            return archive.finished_files(connection, inbox)

    def has_path(self, path: Path) -> bool:
        """Return True if an entry, also a GONE one, has that path."""
        query = select(files.c.id).where(files.c.path_raw == path)
        with self._read_transaction() as connection:
            return connection.scalar(query) is not None

    def record_moved(self, done: FinishedFile, *, to: AudioFile, now: datetime) -> bool:
        """Record that a DONE recording was moved; return False if it is no longer DONE."""
        with self._write_transaction() as connection:
            return archive.record_move(connection, done, to=to, now=now)

    def adopt(
        self, file: AudioFile, *, sha256: str, published: Sequence[tuple[Path, str]], now: datetime
    ) -> bool:
        """Record as DONE a recording whose transcript of ours exists; return False if it is known already."""
        with self._write_transaction() as connection:
            file_id = scan_changes.record_adopted(connection, file, sha256=sha256, now=now)
            if file_id is None:
                return False
            done = PublishedResult(file_id, 0, State.DONE, "", tuple(published))
            publications.mark_written(connection, [done], {file_id: 1}, now=now)
        return True
