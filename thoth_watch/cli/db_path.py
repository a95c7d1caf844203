"""`db path` and `db shell`: access to the ledger with SQL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from thoth_watch.cli.options import config_option, settings_of
from thoth_watch.domain.errors import ConfigError, EngineUnavailable


@click.command(
    epilog="""\b
Examples:
  thoth-watch db path
  sqlite3 -readonly "$(thoth-watch db path)" "SELECT * FROM run_summary" """
)
@config_option
def path(config: Path | None) -> None:
    """Print the path of the SQLite file."""
    click.echo(_ledger_path(config))


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  thoth-watch db shell
  thoth-watch db shell -- -csv "SELECT * FROM runs" """,
)
@config_option
@click.argument("arguments", nargs=-1)
def shell(config: Path | None, arguments: tuple[str, ...]) -> None:
    """Open the ledger read-only in sqlite3.

    ARGUMENTS are passed to sqlite3.
    """
    file = _ledger_path(config)
    program = shutil.which("sqlite3")
    if program is None:
        raise EngineUnavailable("sqlite3 is not installed: apt install sqlite3")
    options = ["-readonly", *(() if arguments else ("-header", "-column"))]
    os.execv(program, [program, *options, str(file), *arguments])  # noqa: S606


def _ledger_path(config: Path | None) -> Path:
    from thoth_watch.infrastructure.ledger.reading import LedgerReader, lock_path

    url = settings_of(config).ledger_url
    if not url.startswith("sqlite"):
        raise ConfigError(
            "ledger.url: the ledger is on a database server; use its own client, such as psql"
        )
    LedgerReader.open(url).close()  # raises if the ledger is missing or damaged
    return Path(str(lock_path(url)).removesuffix(".lock"))
