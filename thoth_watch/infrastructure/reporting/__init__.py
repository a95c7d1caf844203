"""A history as one self-contained HTML page: no script, no server, no request."""

from thoth_watch.infrastructure.reporting.page import render_report

__all__ = ["render_report"]
