"""Reading a ledger while another process may write it: rows, statistics, events and the fleet."""

from thoth_watch.infrastructure.ledger.database.connection import lock_path
from thoth_watch.infrastructure.ledger.reading.events import EventCursor
from thoth_watch.infrastructure.ledger.reading.ledger_reader import LedgerReader

__all__ = ["EventCursor", "LedgerReader", "lock_path"]
