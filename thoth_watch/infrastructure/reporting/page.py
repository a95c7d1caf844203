"""Fills the template with a history."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from thoth_watch.domain.history import History
from thoth_watch.infrastructure.reporting import number_format, plots


def render_report(history: History, *, ledger: str) -> str:
    """The whole page. ledger: what was read, as people call it."""
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
    drawn = {}
    if history.buckets:
        drawn = {"throughput": plots.throughput(history), "backlog": plots.backlog(history)}
    if history.engines:
        drawn |= {"speed": plots.speed(history), "engines": plots.engines(history)}
    if sum(history.stages.values()) > 0:
        drawn["stages"] = plots.stages(history)
    return environment.get_template("report.html.j2").render(
        h=history, plots=drawn, ledger=ledger, per=number_format.format_bucket_width(history.width)
    )
