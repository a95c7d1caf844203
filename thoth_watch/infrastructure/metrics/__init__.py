"""The ledger's numbers in the words of Prometheus."""

from thoth_watch.infrastructure.metrics.prometheus import serve_metrics, write_textfile

__all__ = ["serve_metrics", "write_textfile"]
