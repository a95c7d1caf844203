"""`tail`: print events from the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import config_option, json_option, open_reader
from thoth_watch.cli.text import display_path, printable
from thoth_watch.cli.times import format_media_time, format_time

POLL_INTERVAL_S = 0.5  # between reads of the ledger


@click.command(
    epilog="""\b
Examples:
  thoth-watch tail
  thoth-watch tail -f
  thoth-watch tail -f --json | jq 'select(.after == "FAILED")'"""
)
@config_option
@json_option
@click.option("-n", "--limit", default=20, show_default=True, help="Number of past events.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events until stopped.")
def tail(config: Path | None, as_json: bool, limit: int, follow: bool) -> None:
    """Print events: file state changes and finished runs.

    Events are printed oldest first; with --json, one JSON object per line. The service's log is
    separate: `journalctl -u thoth-watch`.
    """
    from thoth_watch.cli.tables import print_json_line

    with open_reader(config) as reader:
        events, cursor = reader.events(None, limit=limit)
        while True:
            for event in events:
                print_json_line(event) if as_json else _print(event)
            if not follow:
                return
            time.sleep(POLL_INTERVAL_S)
            events, cursor = reader.events(cursor, limit=1000)


def _print(event: Mapping[str, Any]) -> None:
    from thoth_watch.cli.tables import COLORS

    if event["event"] == "file":
        state, text = str(event["after"]), display_path(event["path"])
        text += f"  {event['reason']}" if event["reason"] else ""
    else:
        state = str(event["status"])
        text = f"run {event['run_id']}: {event['files_ok']} done, {event['files_failed']} failed, "
        text += f"{format_media_time(event['audio_s'])} of audio in {event['wall_s'] or 0:.1f} s"
        text += f" on {event['device']}" if event["device"] else ""
        text += f"  {event['error']}" if event["error"] else ""
    color = COLORS.get(state)
    label = click.style(f"{state:>11}", fg=None if color == "dim" else color)
    click.echo(f"{format_time(event['at'])[5:]} {label}  {printable(text)}")
