"""`hooks`: tells a command or a webhook what happened, beside the service and never in its way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import config_option, settings_of
from thoth_watch.domain.errors import EXIT_SOME_FAILED, ConfigError

if TYPE_CHECKING:
    from thoth_watch.infrastructure.settings import HookSettings

POLL_INTERVAL_S = 1.0  # between looks into the ledger
MAX_EVENTS = 100  # events of each kind per look
FIRST_RETRY_DELAY_S = 1.0  # before the second try; then twice as long each time

Deliver = Callable[[Mapping[str, Any]], None]


@click.command(
    epilog="""\b
Examples:
  thoth-watch hooks
  thoth-watch once; thoth-watch hooks --once"""
)
@config_option
@click.option("--once", "is_once", is_flag=True, help="Tell what is new and end (for timers).")
def hooks(config: Path | None, is_once: bool) -> None:
    """Tell the configured hooks of every file and run that ended, well or not.

    A process of its own that reads the ledger: a slow or broken hook never holds up transcription.
    Where it goes on is kept beside the ledger; at the very first start only what comes then is told.
    With --once it exits 1 if a hook did not take an event.
    """
    from thoth_watch.infrastructure.hooks import CursorFile
    from thoth_watch.infrastructure.ledger import EventCursor, LedgerReader, lock_path

    settings = settings_of(config)
    if not (settings.hooks.command or settings.hooks.webhook):
        raise ConfigError("no hook: set hooks.command or hooks.webhook")
    bookmark = CursorFile(
        Path(str(lock_path(settings.ledger_url)).removesuffix(".lock") + ".hooks")
    )
    deliver = _build_delivery(settings.hooks)
    n_lost = 0
    with LedgerReader.open(settings.ledger_url) as reader:
        place = bookmark.read()
        if place is None:
            _, cursor = reader.events(None, limit=1)
            bookmark.write(cursor.transition_id, cursor.run_finished_at)
        else:
            cursor = EventCursor(*place)
        while True:
            events, after = reader.events(cursor, limit=MAX_EVENTS)
            for event in events:
                told = _hook_event(event, reader.outputs)
                if told is not None and told["event"].split(".")[1] in settings.hooks.ends:
                    n_lost += not _deliver_with_retries(deliver, told, tries=settings.hooks.tries)
            if after != cursor:
                cursor = after
                bookmark.write(cursor.transition_id, cursor.run_finished_at)
            elif is_once:
                sys.exit(EXIT_SOME_FAILED if n_lost else 0)
            else:
                time.sleep(POLL_INTERVAL_S)


def _hook_event(
    event: Mapping[str, Any], outputs: Callable[[str], list[str]]
) -> dict[str, Any] | None:
    """What a hook is told; None for a move that is no end."""
    from thoth_watch.domain.states import NEEDS_ATTENTION, State

    at = event["at"].isoformat()
    if event["event"] == "run":
        facts = {k: event[k] for k in ("run_id", "status", "files_ok", "files_failed", "error")}
        facts |= {k: event[k] for k in ("engine", "device", "precision", "audio_s", "wall_s")}
        return {
            "event": "run.done" if event["status"] == "DONE" else "run.failed",
            "at": at,
            **facts,
        }
    if event["after"] == State.DONE:
        name, written = "file.done", outputs(event["path"])
    elif event["after"] in NEEDS_ATTENTION:
        name, written = "file.failed", outputs(event["path"])
    else:
        return None
    facts = {"path": event["path"], "state": event["after"], "reason": event["reason"]}
    return {"event": name, "at": at, **facts, "outputs": written}


def _build_delivery(wanted: HookSettings) -> Deliver:
    from thoth_watch.infrastructure.hooks import post_webhook, run_command

    def deliver(event: Mapping[str, Any]) -> None:
        if wanted.command:
            run_command(wanted.command, event, timeout_s=wanted.timeout_s)
        if wanted.webhook:
            post_webhook(wanted.webhook, event, secret=wanted.secret, timeout_s=wanted.timeout_s)

    return deliver


def _deliver_with_retries(deliver: Deliver, event: Mapping[str, Any], *, tries: int) -> bool:
    """Whether the event was taken, at the latest at the last try."""
    from thoth_watch.infrastructure.hooks import DeliveryError

    for number in range(tries):
        try:
            deliver(event)
        except DeliveryError as error:
            subject = event.get("path") or f"run {event['run_id']}"
            if number + 1 == tries:
                click.echo(
                    f"thoth-watch: {event['event']} of {subject} not told: {error}", err=True
                )
            else:
                time.sleep(FIRST_RETRY_DELAY_S * 2**number)
        else:
            return True
    return False
