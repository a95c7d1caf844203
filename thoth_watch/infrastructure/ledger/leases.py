"""Batches for remote workers: sent, leased by one of them, renewed, expired."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from thoth_watch.application.ports.dispatch import OpenBatches, WorkerInfo
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database import file_rows
from thoth_watch.infrastructure.ledger.database.tables import (
    BatchState,
    batches,
    files,
    hearings,
    workers,
)
from thoth_watch.infrastructure.ledger.database.transactions import Transactions, database_now

WORKER_RETENTION = timedelta(days=1)  # rows of workers not seen for longer are deleted
IS_OPEN = batches.c.state == BatchState.OPEN
IS_LEASED = and_(IS_OPEN, batches.c.lease_until.is_not(None))
IS_SENT = and_(IS_OPEN, batches.c.lease_until.is_(None), batches.c.sent_at.is_not(None))


def is_active(now: datetime) -> ColumnElement[bool]:
    """Return the condition for a batch under a valid lease, or sent and not yet leased."""
    return or_(IS_SENT, and_(IS_LEASED, batches.c.lease_until >= now))


def has_no_open_batch(batch_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition for a batch ID that is NULL or of a batch that has ended."""
    return or_(batch_id.is_(None), batch_id.not_in(select(batches.c.id).where(IS_OPEN)))


class SqlLeases:
    """Leases of batches: at most one worker takes a batch, with its claim number as fencing token.

    Files of an expired lease wait again after recovery.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def send(self, batch_ids: Collection[int]) -> None:
        """Mark these batches as sent to the workers."""
        with self._transactions.write() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.id.in_(batch_ids), IS_OPEN, batches.c.lease_until.is_(None))
                .values(sent_at=database_now(connection))
            )

    def open_batches(self) -> OpenBatches:
        """Return the batches that are sent, oldest first, and the numbers leased and expired."""
        with self._transactions.read() as connection:
            now = database_now(connection)
            rows = connection.execute(
                select(batches.c.id, batches.c.sent_at, batches.c.lease_until)
                .where(or_(IS_SENT, IS_LEASED))
                .order_by(batches.c.sent_at, batches.c.id)
            ).all()
        sent = [row for row in rows if row.lease_until is None]
        return OpenBatches(
            sent=tuple((row.id, (now - row.sent_at).total_seconds()) for row in sent),
            leased=len(rows) - len(sent),
            expired=sum(row.lease_until < now for row in rows if row.lease_until is not None),
        )

    def lease(
        self,
        batch_id: int,
        *,
        owner: str,
        lease_s: float,
        resolve_file_options: Callable[[AudioFile], Any],
    ) -> Claim | None:
        """Take a batch that was sent, under a lease; None if another worker took it or it has ended."""
        with self._transactions.write() as connection:
            claim_no = connection.execute(
                update(batches)
                .where(batches.c.id == batch_id, IS_SENT)
                .values(owner=owner, lease_until=_seconds_after(database_now(connection), lease_s))
                .returning(batches.c.claim_no)
            ).scalar_one_or_none()
            if claim_no is None:
                return None
            members = connection.execute(
                select(*file_rows.WAITING_COLUMNS)
                .where(
                    files.c.batch_id == batch_id,
                    files.c.state == State.CLAIMED,
                    files.c.claim_no == claim_no,
                )
                .order_by(files.c.id)
            ).all()
            if not members:
                connection.execute(
                    update(batches)
                    .where(batches.c.id == batch_id)
                    .values(state=str(BatchState.RELEASED))
                )
                return None
        waiting = (file_rows.waiting_file(row, resolve_file_options) for row in members)
        # the current attempt was counted when the batch was claimed
        as_claimed = tuple(replace(item, attempts=item.attempts - 1) for item in waiting)
        return Claim(batch_id, claim_no, Batch(as_claimed))

    def renew(self, batch_id: int, *, owner: str, lease_s: float) -> bool:
        """Extend the lease to `lease_s` seconds from now; return False if the owner no longer holds it."""
        with self._transactions.write() as connection:
            updated = connection.execute(
                update(batches)
                .where(batches.c.id == batch_id, batches.c.owner == owner, IS_LEASED)
                .values(lease_until=_seconds_after(database_now(connection), lease_s))
            )
        return updated.rowcount == 1

    def may_transcribe(self, claim: Claim, sha256: str, fingerprint: str) -> bool:
        """Reserve the transcription of this content for the batch; return False if it is taken.

        It is taken by another open batch, or by another file of this one.
        """
        key = {"sha256": sha256, "fingerprint": fingerprint}
        with self._transactions.write() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            statement = dialect.insert(hearings).values(batch_id=claim.batch_id, **key)
            has_ended = hearings.c.batch_id.not_in(select(batches.c.id).where(IS_OPEN))
            reserved = connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["sha256", "fingerprint"],
                    set_={"batch_id": claim.batch_id},
                    where=has_ended,
                ).returning(hearings.c.batch_id)
            )
            return reserved.first() is not None

    def record_worker(self, worker: WorkerInfo, *, batch_id: int | None) -> None:
        """Record a worker's heartbeat and its current batch (None: idle)."""
        with self._transactions.write() as connection:
            now = database_now(connection)
            facts = {
                "host": worker.host,
                "process_id": worker.process_id,
                "device": worker.device,
                "seen_at": now,
                "batch_id": batch_id,
            }
            known = connection.execute(
                update(workers).where(workers.c.name == worker.name).values(**facts)
            )
            if known.rowcount == 0:
                connection.execute(
                    insert(workers).values(name=worker.name, started_at=now, **facts)
                )
            connection.execute(delete(workers).where(workers.c.seen_at < now - WORKER_RETENTION))

    def remove_worker(self, name: str) -> None:
        """Delete the row of a worker that has stopped normally."""
        with self._transactions.write() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def count_live_workers(self, *, within_s: float) -> int:
        """Return the number of workers seen within that time."""
        with self._transactions.read() as connection:
            since = database_now(connection) - timedelta(seconds=within_s)
            count = select(func.count()).where(workers.c.seen_at >= since)
            return int(connection.execute(count).scalar_one())


def _seconds_after(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
