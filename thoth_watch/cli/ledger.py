"""`status`, `runs`, `files` and `retry`: what the ledger knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import config_option, json_option


def _settings(config: Path | None) -> Any:
    from thoth_watch.bootstrap import build_settings

    return build_settings(config, {}, required=True)


def _reader(config: Path | None) -> Any:
    from thoth_watch.infrastructure.ledger import LedgerReader

    return LedgerReader.open(_settings(config).ledger_url)


def _show(found: Any, *, as_json: bool, table: Callable[[Any], None]) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    else:
        table(found)


@click.command(
    epilog="""\b
Examples:
  thoth-watch status
  thoth-watch status --json | jq .counts"""
)
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """What waits, what failed and why, what was ignored, and the last run."""
    from thoth_watch.bootstrap import inbox_of
    from thoth_watch.cli.show import print_status
    from thoth_watch.domain.states import State

    settings = _settings(config)
    looks = [inbox_of(inbox).look() for inbox in settings.inboxes]
    with _reader(config) as reader:
        document = {
            "inboxes": [
                {
                    "path": str(look.inbox),
                    "audio_files": len(look.files),
                    "refused": len(look.refused),
                    "ignored": look.ignored,
                    "other": look.other,
                    "problem": look.problem,
                }
                for look in looks
            ],
            "counts": reader.counts(),
            "unfinished": reader.files(states=set(State) - {State.DONE}),
            "last_run": reader.last_run(),
        }
    _show(document, as_json=as_json, table=print_status)


@click.command(
    epilog="""\b
Examples:
  thoth-watch runs
  thoth-watch runs --limit 100 --json"""
)
@config_option
@json_option
@click.option("-n", "--limit", default=20, show_default=True, help="How many, newest first.")
def runs(config: Path | None, as_json: bool, limit: int) -> None:
    """The runs: device, precision, files, audio and time."""
    from thoth_watch.cli.show import print_runs

    with _reader(config) as reader:
        rows = reader.runs(limit=limit)
    _show(rows, as_json=as_json, table=print_runs)


@click.command(
    epilog="""\b
Examples:
  thoth-watch files --state FAILED
  thoth-watch files --match 'meetings/*' --json"""
)
@config_option
@json_option
@click.option("--state", "states", multiple=True, help="Only files in this state; may be repeated.")
@click.option("--match", help="Only paths that hold this text, or match this glob.")
@click.option("-n", "--limit", type=int, help="At most so many.")
def files(
    config: Path | None,
    as_json: bool,
    states: tuple[str, ...],
    match: str | None,
    limit: int | None,
) -> None:
    """Every recording that was ever seen, its state and the reason for it."""
    from thoth_watch.cli.show import print_files

    wanted = _known_states(states)
    with _reader(config) as reader:
        rows = reader.files(states=wanted, limit=limit, match=match)
    _show(rows, as_json=as_json, table=print_files)


@click.command(
    epilog="""\b
Examples:
  thoth-watch retry inbox/talk.mp3
  thoth-watch retry --state FAILED --state QUARANTINED
  thoth-watch retry --all"""
)
@config_option
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--state", "states", multiple=True, help="All files in this state; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="All that failed or wait for a retry.")
def retry(
    config: Path | None, paths: tuple[Path, ...], states: tuple[str, ...], everything: bool
) -> None:
    """Try failed files again; their attempts start from nothing."""
    from thoth_watch.infrastructure.ledger import SqlLedger

    if not (paths or states or everything):
        raise click.UsageError("name the files, or give --state STATE or --all")
    wanted = _known_states(states) or (None if paths else RETRIABLE)
    ledger = SqlLedger.open(_settings(config).ledger_url, create=False)
    try:
        n = ledger.retry(
            states=wanted, paths=[path.parent.resolve() / path.name for path in paths] or None
        )
    finally:
        ledger.close()
    click.echo(f"{n} file{'' if n == 1 else 's'} will be tried again")


RETRIABLE = ("FAILED", "QUARANTINED", "CONFLICT", "RETRY")


def _known_states(states: tuple[str, ...]) -> tuple[str, ...] | None:
    from thoth_watch.domain.states import State

    wanted = tuple(state.upper() for state in states)
    for state in wanted:
        if state not in tuple(State):
            raise click.UsageError(f"no state {state}; there are {', '.join(State)}")
    return wanted or None
