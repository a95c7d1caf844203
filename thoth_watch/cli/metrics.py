"""`metrics`: the ledger's numbers for Prometheus."""

from __future__ import annotations

from pathlib import Path

import click

from thoth_watch.cli.options import config_option, settings_of
from thoth_watch.domain.errors import EngineUnavailable


@click.command(
    epilog="""\b
Examples:
  thoth-watch metrics --output /var/lib/prometheus/node-exporter/thoth-watch.prom
  thoth-watch metrics --port 9748"""
)
@config_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file for the node exporter's textfile collector, and end (for timers).",
)
@click.option("--port", type=click.IntRange(1, 65_535), help="Answer /metrics there until stopped.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Of which interface.")
def metrics(config: Path | None, output: Path | None, port: int | None, address: str) -> None:
    """Files by state, runs, audio, time by stage, fallbacks and backlog, as Prometheus reads them.

    Reads the ledger only, so it never gets in the way of the service. Needs
    `pip install 'thoth-watch[metrics]'`.
    """
    from thoth_watch.bootstrap import ledger_stats_reader

    if (output is None) == (port is None):
        raise click.UsageError("say where: --output FILE or --port PORT")
    look = ledger_stats_reader(settings_of(config))
    try:
        from thoth_watch.infrastructure.metrics import serve_metrics, write_textfile
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"metrics needs {error.name}: pip install 'thoth-watch[metrics]'"
        ) from error
    if output is not None:
        write_textfile(output, look)
        return
    assert port is not None  # noqa: S101 - one of the two is given
    look()  # a ledger that cannot be read is said at once
    server, thread = serve_metrics(address, port, look)
    click.echo(f"metrics at http://{address}:{port}/metrics; Ctrl-C stops", err=True)
    try:
        thread.join()
    finally:
        server.shutdown()
