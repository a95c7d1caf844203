"""The ledger port on a database, composed of its parts."""

from __future__ import annotations

from thoth_watch.infrastructure.ledger.administration import SqlAdministration
from thoth_watch.infrastructure.ledger.archive import SqlArchive
from thoth_watch.infrastructure.ledger.inbox import SqlInboxLedger
from thoth_watch.infrastructure.ledger.leases import SqlLeases
from thoth_watch.infrastructure.ledger.queue import SqlBatchQueue
from thoth_watch.infrastructure.ledger.results import SqlResults
from thoth_watch.infrastructure.ledger.runs import SqlRunLog


class SqlLedger(
    SqlInboxLedger, SqlBatchQueue, SqlResults, SqlRunLog, SqlArchive, SqlLeases, SqlAdministration
):
    """The ledger in SQLite or PostgreSQL; every method is one durable transaction."""
