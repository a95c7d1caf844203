"""The ledger on a database: one adapter for each role of the port, over common transactions."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy import URL

from thoth_watch.infrastructure.ledger.administration import SqlAdministration
from thoth_watch.infrastructure.ledger.archive import SqlArchive
from thoth_watch.infrastructure.ledger.database.connection import BUSY_TIMEOUT_S, open_for_writing
from thoth_watch.infrastructure.ledger.database.transactions import Transactions
from thoth_watch.infrastructure.ledger.inbox import SqlInboxLedger
from thoth_watch.infrastructure.ledger.leases import SqlLeases
from thoth_watch.infrastructure.ledger.queue import SqlBatchQueue
from thoth_watch.infrastructure.ledger.results import SqlResults
from thoth_watch.infrastructure.ledger.runs import SqlRunLog

DEATH_LIMIT = 10  # tolerates kills by a user; a file that always kills the process must stop


class SqlLedger:
    """The ledger in SQLite or PostgreSQL; every method of its roles is one durable transaction."""

    def __init__(self, transactions: Transactions, *, death_limit: int = DEATH_LIMIT) -> None:
        self.transactions = transactions
        self.inbox = SqlInboxLedger(transactions)
        self.queue = SqlBatchQueue(transactions, death_limit=death_limit)
        self.results = SqlResults(transactions)
        self.runs = SqlRunLog(transactions)
        self.archive = SqlArchive(transactions)
        self.leases = SqlLeases(transactions)
        self.administration = SqlAdministration(transactions)

    @classmethod
    def open(
        cls,
        url: str | URL,
        *,
        create: bool = True,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        death_limit: int = DEATH_LIMIT,
    ) -> Self:
        """Open the ledger at a database URL and upgrade it to the newest schema.

        death_limit: number of process deaths after which a file is quarantined.
        Raises LedgerBroken for anything but an intact ledger of ours, RetryLater for a temporary
        problem, ConfigError for a URL that names no database.
        """
        opened = open_for_writing(url, create=create, busy_timeout_s=busy_timeout_s)
        return cls(Transactions(*opened), death_limit=death_limit)

    def check_identity(self) -> None:
        """Raise LedgerBroken if the ledger's file was deleted or replaced since it was opened."""
        self.transactions.check_identity()

    def close(self) -> None:
        """Close all connections."""
        self.transactions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
