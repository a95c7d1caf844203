"""The ledger: files, batches, runs and results in SQLite or PostgreSQL, through SQLAlchemy."""

from thoth_watch.infrastructure.ledger.connection import lock_path
from thoth_watch.infrastructure.ledger.events import EventCursor
from thoth_watch.infrastructure.ledger.ledger_reader import LedgerReader
from thoth_watch.infrastructure.ledger.sql_ledger import SqlLedger

__all__ = ["EventCursor", "LedgerReader", "SqlLedger", "lock_path"]
