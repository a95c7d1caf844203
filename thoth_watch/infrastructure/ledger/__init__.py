"""The ledger: every file, batch, run and result, in SQLite or PostgreSQL through SQLAlchemy."""

from thoth_watch.infrastructure.ledger.connection import lock_path
from thoth_watch.infrastructure.ledger.events import Cursor
from thoth_watch.infrastructure.ledger.queries import LedgerReader
from thoth_watch.infrastructure.ledger.sql_ledger import SqlLedger

__all__ = ["Cursor", "LedgerReader", "SqlLedger", "lock_path"]
