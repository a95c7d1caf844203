"""Finished recordings and the paths in the archive folder to which they are moved."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from thoth_watch.application.ports.ledger import FinishedFile
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database import file_rows
from thoth_watch.infrastructure.ledger.database.tables import files
from thoth_watch.infrastructure.ledger.database.transactions import Transactions
from thoth_watch.infrastructure.ledger.transitions import Transition, apply_transition


class SqlArchive:
    """The DONE recordings, whose rows follow them when they are moved."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def finished(self, inbox: Path) -> list[FinishedFile]:
        """Return the DONE recordings in an inbox, oldest first."""
        columns = (
            files.c.id,
            files.c.path_raw,
            files.c.sha256,
            files.c.claim_no,
            *file_rows.SIGNATURE_COLUMNS,
        )
        query = select(*columns).where(
            files.c.state == State.DONE, files.c.inbox_raw == inbox, files.c.sha256.is_not(None)
        )
        with self._transactions.read() as connection:
            rows = connection.execute(query.order_by(files.c.done_at, files.c.id)).all()
        return [
            FinishedFile(
                row.id, AudioFile(inbox, row.path_raw, signature), row.sha256, row.claim_no
            )
            for row in rows
            if (signature := file_rows.signature(row)) is not None
        ]

    def has_path(self, path: Path) -> bool:
        """Return True if an entry, also a GONE one, has that path."""
        query = select(files.c.id).where(files.c.path_raw == path)
        with self._transactions.read() as connection:
            return connection.scalar(query) is not None

    def record_moved(self, done: FinishedFile, *, to: AudioFile, now: datetime) -> bool:
        """Update the row of a recording that was moved; its transcripts' names stay with the row.

        Return False if the recording is no longer DONE.
        """
        values = {
            "path": to.path,
            "path_raw": to.path,
            "inbox": to.inbox,
            "inbox_raw": to.inbox,
            **file_rows.signature_columns(to.signature),
        }
        reason = f"moved here from {done.file.path} after it was transcribed"
        step = Transition(done.file_id, done.claim_no, State.DONE, State.DONE, reason, values)
        with self._transactions.write() as connection:
            return apply_transition(connection, step, now=now)
