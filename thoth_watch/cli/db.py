"""`db check`, `db backup` and `db rebuild`: looking after the ledger's file."""

from __future__ import annotations

from datetime import UTC, datetime
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
    """Look after the ledger: is it sound, copy it, make it anew; where it lies, and a shell on it."""


db.add_command(path)
db.add_command(shell)


@db.command()
@config_option
def check(config: Path | None) -> None:
    """Read every page of the ledger; also while a daemon works on it. Ends with 78 if it is damaged."""
    from thoth_watch.infrastructure.ledger import maintenance

    url = settings_of(config).ledger_url
    maintenance.check_integrity(url)
    click.echo(f"{maintenance.ledger_file(url)}: sound")


@db.command()
@config_option
@click.argument("file", required=False, type=click.Path(path_type=Path))
def backup(config: Path | None, file: Path | None) -> None:
    """Copy the ledger, whole, while a daemon works on it.

    FILE must not be there; by default it lies beside the ledger and has the time in its name.
    """
    from thoth_watch.infrastructure.ledger import maintenance

    url = settings_of(config).ledger_url
    ledger = maintenance.ledger_file(url)
    target = file or ledger.with_name(f"{ledger.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}.backup")
    maintenance.back_up(url, target)
    click.echo(str(target))


@db.command()
@config_option
def rebuild(config: Path | None) -> None:
    """Make the ledger anew from the inboxes: what has a json transcript of ours is DONE, the rest waits.

    The old ledger is kept under another name. Nothing in an inbox is written.
    """
    from thoth_watch.bootstrap import rebuild_ledger

    rebuilt = rebuild_ledger(settings_of(config))
    if rebuilt.old is not None:
        click.echo(f"the old ledger is {rebuilt.old}")
    click.echo(f"{rebuilt.adopted} recordings have their transcript; {rebuilt.left} wait for `run`")
