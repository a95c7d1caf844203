"""The ledger of what lies in the inbox: what a look finds, and what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import and_, select

from thoth_watch.application.ports import FinishedFile, KnownFile
from thoth_watch.domain.audio import AudioFile, RefusedEntry
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import archive, file_rows, publications, scan_changes
from thoth_watch.infrastructure.ledger.tables import files
from thoth_watch.infrastructure.ledger.transactions import Transactions, apply_transition_where
from thoth_watch.infrastructure.ledger.transitions import chunks


class InboxEntries(Transactions):
    """Every audio-named entry has one row."""

    def known_files(self, inbox: Path) -> dict[Path, KnownFile]:
        """All entries of an inbox that are not GONE, by absolute path."""
        query = select(
            files.c.path_raw, files.c.id, files.c.state, *file_rows.SIGNATURE_COLUMNS
        ).where(files.c.inbox_raw == inbox, files.c.state != State.GONE)
        with self._read_transaction() as connection:
            return {
                path: KnownFile(file_id, State(state), file_rows.signature_of(facts))
                for path, file_id, state, *facts in connection.execute(query)
            }

    def settling(self, inbox: Path) -> set[Path]:
        """The paths of an inbox in state SEEN."""
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
        """Record what one look changed, all of it or nothing."""
        if not (seen or ready or refused or gone):
            return
        with self._write_transaction() as connection:
            for some in chunks(seen):  # a flood of rows takes much memory
                scan_changes.record_seen(connection, some, now=now)
            scan_changes.record_ready(connection, ready, now=now)
            scan_changes.record_refused(connection, refused, now=now)
            scan_changes.record_gone(connection, gone, now=now)

    def fail_empty_files(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Give up on zero-byte files that stayed so (SEEN becomes FAILED)."""
        with self._write_transaction() as connection:
            for some in chunks(paths):
                apply_transition_where(
                    connection,
                    and_(
                        files.c.path_raw.in_(some),
                        files.c.state == State.SEEN,
                        files.c.size_bytes == 0,
                    ),
                    lambda _: (State.FAILED, "the file is empty (0 bytes) and stayed so", {}),
                    now=now,
                )

    def finished(self, inbox: Path) -> list[FinishedFile]:
        """The DONE recordings that lie in an inbox, oldest first."""
        with self._read_transaction() as connection:
            return archive.finished_files(connection, inbox)

    def has_path(self, path: Path) -> bool:
        """Whether some entry, here or GONE, has that path."""
        query = select(files.c.id).where(files.c.path_raw == path)
        with self._read_transaction() as connection:
            return connection.scalar(query) is not None

    def record_moved(self, done: FinishedFile, *, to: AudioFile, now: datetime) -> bool:
        """A DONE recording lies elsewhere now; False if it is no longer DONE."""
        with self._write_transaction() as connection:
            return archive.record_move(connection, done, to=to, now=now)

    def adopt(
        self, file: AudioFile, *, sha256: str, published: Sequence[tuple[Path, str]], now: datetime
    ) -> bool:
        """A recording with a transcript of ours that no ledger knows any more is DONE; False if known."""
        with self._write_transaction() as connection:
            file_id = scan_changes.record_adopted(connection, file, sha256=sha256, now=now)
            if file_id is None:
                return False
            publications.mark_published(
                connection, published, file_id=file_id, generation=1, claim_no=0, now=now
            )
        return True
