"""The ledger port on a database, composed of its parts."""

from __future__ import annotations

from thoth_watch.infrastructure.ledger.claims import Claims
from thoth_watch.infrastructure.ledger.inbox_entries import InboxEntries
from thoth_watch.infrastructure.ledger.leases import SqlLeases
from thoth_watch.infrastructure.ledger.outcomes import Outcomes
from thoth_watch.infrastructure.ledger.publications import Publications
from thoth_watch.infrastructure.ledger.retries import Retries
from thoth_watch.infrastructure.ledger.run_records import RunRecords


class SqlLedger(InboxEntries, Claims, RunRecords, Outcomes, Publications, Retries, SqlLeases):
    """The ledger in SQLite or PostgreSQL; every method is one durable transaction."""
