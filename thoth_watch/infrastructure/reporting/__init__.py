"""Report of a history as one self-contained HTML page, without scripts or external resources."""

from thoth_watch.infrastructure.reporting.page import render_report

__all__ = ["render_report"]
