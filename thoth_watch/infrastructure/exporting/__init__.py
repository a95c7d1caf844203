"""Rows of the ledger as files for a spreadsheet or a data frame."""

from thoth_watch.infrastructure.exporting.files import WRITERS, Rows, export

__all__ = ["WRITERS", "Rows", "export"]
