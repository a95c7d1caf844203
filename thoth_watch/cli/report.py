"""`report`: the ledger's past as one page that opens anywhere."""

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
    help="The page; an older one there is replaced.",
)
@click.option("--since", type=TimeParam(), help="Only what began since then: 7d, 12h, a date.")
@click.option("--open", "opens", is_flag=True, help="Show it in the browser.")
def report(config: Path | None, output: Path, since: datetime | None, opens: bool) -> None:
    """Write one self-contained HTML page: throughput, speed, stages, backlog, fallbacks, failures.

    It holds all it shows and fetches nothing. Needs `pip install 'thoth-watch[report]'`.
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
        raise RetryLater(f"{output}: {error.strerror}; name another with --output") from error
    click.echo(f"wrote {output}")
    if opens:
        webbrowser.open(output.absolute().as_uri())
