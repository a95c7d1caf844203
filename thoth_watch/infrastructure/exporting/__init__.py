"""Export of ledger rows to files for spreadsheets and data frames."""

from thoth_watch.infrastructure.exporting.files import WRITERS, Rows, export

__all__ = ["WRITERS", "Rows", "export"]
