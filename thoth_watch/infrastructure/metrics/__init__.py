"""The ledger's numbers in the words of Prometheus."""

from thoth_watch.infrastructure.metrics.prometheus import serve, write_textfile

__all__ = ["serve", "write_textfile"]
