"""The ledger: files, batches, runs and results in SQLite or PostgreSQL, through SQLAlchemy."""

from thoth_watch.infrastructure.ledger.sql_ledger import SqlLedger

__all__ = ["SqlLedger"]
