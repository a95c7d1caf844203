"""`hooks`: run a command or call a webhook for events, in a process that never blocks the service."""

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

POLL_INTERVAL_S = 1.0  # between reads of the ledger
MAX_EVENTS = 100  # of each kind per read
FIRST_RETRY_DELAY_S = 1.0  # before the second attempt; doubled for each further attempt

Deliver = Callable[[Mapping[str, Any]], None]


@click.command(
    epilog="""\b
Examples:
  thoth-watch hooks
  thoth-watch once; thoth-watch hooks --once"""
)
@config_option
@click.option("--once", "is_once", is_flag=True, help="Send new events and exit (for timers).")
def hooks(config: Path | None, is_once: bool) -> None:
    """Run a command or call a webhook when files or runs finish.

    Sends an event for every file and run that finished or failed. This is a separate process that
    reads the ledger, so a slow or broken hook never delays transcription. The position in the event
    stream is stored in a file next to the ledger. On the first start, earlier events are skipped.
    With --once, the exit code is 1 if an event could not be delivered.
    """
    from thoth_watch.infrastructure.hooks import CursorFile
    from thoth_watch.infrastructure.ledger.reading import EventCursor, LedgerReader, lock_path

    settings = settings_of(config)
    if not (settings.hooks.command or settings.hooks.webhook):
        raise ConfigError("hooks: nothing to notify; set hooks.command or hooks.webhook")
    bookmark = CursorFile(
        Path(str(lock_path(settings.ledger_url)).removesuffix(".lock") + ".hooks")
    )
    deliver = _build_delivery(settings.hooks)
    n_undelivered = 0
    with LedgerReader.open(settings.ledger_url) as reader:
        position = bookmark.read()
        if position is None:
            _, cursor = reader.events(None, limit=1)
            bookmark.write(cursor.transition_id, cursor.run_finished_at)
        else:
            cursor = EventCursor(*position)
        while True:
            events, after = reader.events(cursor, limit=MAX_EVENTS)
            for event in events:
                payload = _hook_event(event, reader.outputs)
                if payload is not None and payload["event"].split(".")[1] in settings.hooks.ends:
                    delivered = _deliver_with_retries(deliver, payload, tries=settings.hooks.tries)
                    n_undelivered += not delivered
            if after != cursor:
                cursor = after
                bookmark.write(cursor.transition_id, cursor.run_finished_at)
            elif is_once:
                sys.exit(EXIT_SOME_FAILED if n_undelivered else 0)
            else:
                time.sleep(POLL_INTERVAL_S)


def _hook_event(
    event: Mapping[str, Any], outputs: Callable[[str], list[str]]
) -> dict[str, Any] | None:
    """Return the event to send to a hook; None if the file's new state is not final."""
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
        name, paths = "file.done", outputs(event["path"])
    elif event["after"] in NEEDS_ATTENTION:
        name, paths = "file.failed", outputs(event["path"])
    else:
        return None
    facts = {"path": event["path"], "state": event["after"], "reason": event["reason"]}
    return {"event": name, "at": at, **facts, "outputs": paths}


def _build_delivery(settings: HookSettings) -> Deliver:
    from thoth_watch.infrastructure.hooks import post_webhook, run_command

    def deliver(event: Mapping[str, Any]) -> None:
        if settings.command:
            run_command(settings.command, event, timeout_s=settings.timeout_s)
        if settings.webhook:
            post_webhook(
                settings.webhook, event, secret=settings.secret, timeout_s=settings.timeout_s
            )

    return deliver


def _deliver_with_retries(deliver: Deliver, event: Mapping[str, Any], *, tries: int) -> bool:
    """Return True if the event was delivered within the given number of attempts."""
    from thoth_watch.infrastructure.hooks import DeliveryError

    for number in range(tries):
        try:
            deliver(event)
        except DeliveryError as error:
            subject = event.get("path") or f"run {event['run_id']}"
            if number + 1 == tries:
                click.echo(
                    f"thoth-watch: {event['event']} of {subject} not delivered: {error}", err=True
                )
            else:
                time.sleep(FIRST_RETRY_DELAY_S * 2**number)
        else:
            return True
    return False
