"""`report`: write the ledger's history as one self-contained HTML page."""

from __future__ import annotations

import webbrowser
from datetime import datetime
from pathlib import Path

import click

from thoth_watch.cli.options import config_option, settings_of
from thoth_watch.cli.times import TimeParam
from thoth_watch.domain.errors import EngineUnavailable, RetryLater


@click.command(
    epilog="""\b
Examples:
  thoth-watch report
  thoth-watch report --since 7d --open
  thoth-watch report --output /srv/www/thoth-watch.html"""
)
@config_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("thoth-watch-report.html"),
    show_default=True,
    help="HTML file to write; an existing file is replaced.",
)
@click.option(
    "--since",
    type=TimeParam(),
    help="Only runs that began within this period (7d, 12h) or since this date.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
def report(config: Path | None, output: Path, since: datetime | None, open_browser: bool) -> None:
    """Write an HTML report on speed, backlog and failures.

    One self-contained page shows throughput, speed, time per stage, backlog, fallbacks and failures.
    It loads nothing from the network. Needs `pip install 'thoth-watch[report]'`.
    """
    from thoth_watch.bootstrap import build_report

    try:
        page = build_report(settings_of(config), since=since)
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"report needs {error.name}: pip install 'thoth-watch[report]'"
        ) from error
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RetryLater(
            f"{output}: {error.strerror}; choose another path with --output"
        ) from error
    click.echo(f"wrote {output}")
    if open_browser:
        webbrowser.open(output.absolute().as_uri())
