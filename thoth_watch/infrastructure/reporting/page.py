"""Rendering of the report's template."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from thoth_watch.domain.history import History
from thoth_watch.infrastructure.reporting import number_format, plots


def render_report(history: History, *, ledger: str) -> str:
    """Return the report as an HTML page. ledger: name of the ledger to display."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number_format.format_number,
        span=number_format.format_duration,
        count=number_format.format_count,
        moment=number_format.format_time,
    )
    drawn_plots = {}
    if history.buckets:
        drawn_plots = {"throughput": plots.throughput(history), "backlog": plots.backlog(history)}
    if history.engines:
        drawn_plots |= {"speed": plots.speed(history), "engines": plots.engines(history)}
    if sum(history.stages.values()) > 0:
        drawn_plots["stages"] = plots.stages(history)
    return environment.get_template("report.html.j2").render(
        h=history,
        plots=drawn_plots,
        ledger=ledger,
        per=number_format.format_bucket_width(history.width),
    )
