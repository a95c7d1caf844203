"""The ledger's numbers as Prometheus metrics."""

from thoth_watch.infrastructure.metrics.prometheus import serve_metrics, write_textfile

__all__ = ["serve_metrics", "write_textfile"]
