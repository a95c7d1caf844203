"""`metrics`: export the ledger's figures to Prometheus."""

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
    help="Write a file for the node exporter's textfile collector and exit (for timers).",
)
@click.option(
    "--port", type=click.IntRange(1, 65_535), help="Port on which to serve /metrics until stopped."
)
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
def metrics(config: Path | None, output: Path | None, port: int | None, address: str) -> None:
    """Export figures from the ledger as Prometheus metrics.

    The metrics are files by state, runs, audio, time per stage, fallbacks and backlog. The command
    only reads the ledger, so it never blocks the service. Needs `pip install 'thoth-watch[metrics]'`.
    """
    from thoth_watch.bootstrap import ledger_stats_reader

    if (output is None) == (port is None):
        raise click.UsageError("use either --output FILE or --port PORT")
    read_stats = ledger_stats_reader(settings_of(config))
    try:
        from thoth_watch.infrastructure.metrics import serve_metrics, write_textfile
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"metrics needs {error.name}: pip install 'thoth-watch[metrics]'"
        ) from error
    if output is not None:
        write_textfile(output, read_stats)
        return
    assert port is not None  # noqa: S101 - one of the two is given
    read_stats()  # raises immediately if the ledger cannot be read
    server, thread = serve_metrics(address, port, read_stats)
    click.echo(f"serving http://{address}:{port}/metrics; press Ctrl-C to stop", err=True)
    try:
        thread.join()
    finally:
        server.shutdown()
