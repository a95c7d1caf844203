"""The ledger port on a database, put together from its parts."""

from __future__ import annotations

from thoth_watch.infrastructure.ledger.claims import Claims
from thoth_watch.infrastructure.ledger.groups import Groups
from thoth_watch.infrastructure.ledger.inbox_entries import InboxEntries
from thoth_watch.infrastructure.ledger.leases import Leases
from thoth_watch.infrastructure.ledger.outcomes import Outcomes
from thoth_watch.infrastructure.ledger.run_records import RunRecords
from thoth_watch.infrastructure.ledger.tries import Tries


class SqlLedger(InboxEntries, Claims, RunRecords, Outcomes, Groups, Tries, Leases):
    """Remembers in SQLite or PostgreSQL; every method is one durable transaction."""
