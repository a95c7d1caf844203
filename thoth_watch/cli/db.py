"""`db check`, `db backup` and `db rebuild`: maintenance of the ledger file."""

from __future__ import annotations

from pathlib import Path

import click

from thoth_watch.cli.db_path import path, shell
from thoth_watch.cli.options import config_option, settings_of


@click.group(
    epilog="""\b
Examples:
  thoth-watch db check
  thoth-watch db backup /backups/thoth-watch.db
  thoth-watch db rebuild
  thoth-watch db path
  thoth-watch db shell"""
)
def db() -> None:
    """Check, back up, rebuild, locate or open the ledger."""


db.add_command(path)
db.add_command(shell)


@db.command()
@config_option
def check(config: Path | None) -> None:
    """Read every page of the ledger and check its integrity.

    This is safe while a daemon is running. Exits with 78 if the ledger is damaged.
    """
    from thoth_watch.bootstrap import check_ledger

    click.echo(f"{check_ledger(settings_of(config))}: ok")


@db.command()
@config_option
@click.argument("file", required=False, type=click.Path(path_type=Path))
def backup(config: Path | None, file: Path | None) -> None:
    """Write a consistent copy of the ledger to FILE.

    This is safe while a daemon is running. FILE must not exist; by default it is in the ledger's
    folder, with the time in its name.
    """
    from thoth_watch.bootstrap import back_up_ledger

    click.echo(str(back_up_ledger(settings_of(config), file)))


@db.command()
@config_option
def rebuild(config: Path | None) -> None:
    """Rebuild the ledger from the inboxes and their transcripts.

    Recordings with a json transcript written by thoth-watch become DONE; `run` transcribes the
    others. The old ledger is kept under another name. Nothing is written to an inbox.
    """
    from thoth_watch.bootstrap import rebuild_ledger

    rebuilt = rebuild_ledger(settings_of(config))
    if rebuilt.old is not None:
        click.echo(f"old ledger kept as {rebuilt.old}")
    click.echo(
        f"recordings with a transcript: {rebuilt.adopted}; waiting for `run`: {rebuilt.left}"
    )
