"""`status`: show the state of the service, its files and its last run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.files import print_files
from thoth_watch.cli.options import config_option, json_option, settings_of
from thoth_watch.cli.text import display_path, printable
from thoth_watch.cli.times import format_age, format_duration, format_media_time

OTHER_COUNTS = {
    "refused": "refused",
    "ignored": "ignored (hidden or partial)",
    "other": "other files",
}
UNRESPONSIVE_AFTER_S = 60.0  # a worker without a heartbeat for longer is highlighted
MAX_FILES_SHOWN = 20  # further files are only counted


@click.command(
    epilog="""\b
Examples:
  thoth-watch status
  thoth-watch status --json | jq .backlog"""
)
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """Show waiting, running and failed files, and the last run.

    The output includes an estimate of the time needed for the backlog.
    """
    from thoth_watch.bootstrap import build_inbox
    from thoth_watch.cli.tables import print_json
    from thoth_watch.domain.states import State
    from thoth_watch.infrastructure.ledger.reading import LedgerReader, lock_path
    from thoth_watch.infrastructure.service.lock_holder import lock_holder_pid

    settings = settings_of(config)
    with LedgerReader.open(settings.ledger_url) as reader:
        backlog = reader.backlog()
        document = {
            "working_process": lock_holder_pid(lock_path(settings.ledger_url)),
            "quiet_until": settings.quiet_hours.until(datetime.now(UTC).astimezone()),
            "inboxes": [_count_inbox(build_inbox(inbox).scan()) for inbox in settings.inboxes],
            "counts": reader.counts(),
            "backlog": {**asdict(backlog), "finish_s": backlog.finish_s},
            "running": reader.runs(status="RUNNING"),
            "last_run": reader.last_run(),
            "fleet": asdict(reader.fleet()) if settings.dispatch.is_celery else None,
            "unfinished": reader.files(states=set(State) - {State.DONE, State.GONE}),
        }
    print_json(document) if as_json else _print(document)


def _count_inbox(scan: Any) -> dict[str, Any]:
    return {
        "path": str(scan.inbox),
        "audio_files": len(scan.files),
        "refused": len(scan.refused),
        "ignored": scan.ignored,
        "other": scan.other,
        "problem": scan.problem,
    }


def _print(document: Mapping[str, Any]) -> None:
    from thoth_watch.cli.tables import COLORS

    def print_line(name: str, text: str, color: str | None = None) -> None:
        click.echo(f"{name + ':' if name else '':<12}" + click.style(printable(text), fg=color))

    print_line("service", _format_service(document))
    for inbox in document["inboxes"]:
        count = inbox["audio_files"]
        text = f"{display_path(inbox['path'])}: {count} recording{'' if count == 1 else 's'}"
        for key, label in OTHER_COUNTS.items():
            text += f", {inbox[key]} {label}" if inbox[key] else ""
        print_line("inbox", text)
        if inbox["problem"]:
            print_line("", inbox["problem"], "red")
    counts = [f"{n} {state}" for state, n in document["counts"].items() if n]
    print_line("files", ", ".join(counts) or "none seen yet")
    print_line("backlog", _format_backlog(document["backlog"]))
    for name, text, color in _format_fleet(document["fleet"]):
        print_line(name, text, color)
    for run in document["running"]:
        print_line(
            "running",
            f"run {run['id']} on {run['device'] or '-'}, started {format_age(run['started_at'])}",
        )
    last = document["last_run"]
    if last:
        color = COLORS.get(str(last["status"]))
        print_line("last run", _format_run(last), color if color in ("red", "yellow") else None)
        if last["error"]:
            print_line("", str(last["error"]), "red")
    _print_unfinished(document["unfinished"])


def _print_unfinished(unfinished: list[Mapping[str, Any]]) -> None:
    if not unfinished:
        return
    click.echo()
    print_files(unfinished[:MAX_FILES_SHOWN])
    if len(unfinished) > MAX_FILES_SHOWN:
        click.echo(f"and {len(unfinished) - MAX_FILES_SHOWN} more: thoth-watch files --by reason")
    _print_retry_hint(unfinished)


def _format_service(document: Mapping[str, Any]) -> str:
    process, quiet_until = document["working_process"], document["quiet_until"]
    text = f"running (pid {process})" if process else "not running"
    if document["fleet"] is not None:
        dispatcher = document["fleet"]["dispatcher"]
        text = f"dispatching ({dispatcher})" if dispatcher else "no dispatcher is running"
    return f"{text}; quiet hours, no new work until {quiet_until:%H:%M}" if quiet_until else text


def _format_fleet(fleet: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str | None]]:
    """Yield lines about the queue and the workers: name, text and color."""
    if fleet is None:
        return
    waits_s = fleet["oldest_wait_s"]
    text = f"{fleet['sent']} batches sent, {fleet['leased']} leased"
    yield (
        "queue",
        text
        + (f"; the oldest file has been waiting for {format_duration(waits_s)}" if waits_s else ""),
        None,
    )
    if not fleet["workers"]:
        yield "workers", "none; start one with `thoth-watch worker`", "red"
    for number, row in enumerate(fleet["workers"]):
        activity = (
            f"batch {row['batch_id']}, {row['files']} files left" if row["batch_id"] else "idle"
        )
        is_unresponsive = row["silent_s"] > UNRESPONSIVE_AFTER_S
        if is_unresponsive:
            activity = f"no heartbeat for {format_duration(row['silent_s'])}"
        text = f"{row['name']} on {row['device']}: {activity}"
        yield "workers" if number == 0 else "", text, "yellow" if is_unresponsive else None


def _print_retry_hint(unfinished: list[Mapping[str, Any]]) -> None:
    from thoth_watch.domain.states import NEEDS_ATTENTION

    if any(row["state"] in NEEDS_ATTENTION for row in unfinished):
        click.secho("`thoth-watch retry --all` retries the failed files", dim=True)


def _format_backlog(backlog: Mapping[str, Any]) -> str:
    if not backlog["files"]:
        return "empty"
    files = backlog["files"]
    unknown = backlog["files_of_unknown_length"]
    text = f"{files} file{'' if files == 1 else 's'}"
    if unknown == files:
        return f"{text} of unknown length"
    text += f", {format_media_time(backlog['audio_s'])} of audio"
    text += f" ({unknown} of unknown length)" if unknown else ""
    if backlog["finish_s"] is None:
        return f"{text}; no estimate before the first run"
    speed = backlog["realtime_factor"]
    return f"{text}, about {format_duration(backlog['finish_s'])} at {speed:.1f} times real time"


def _format_run(run: Mapping[str, Any]) -> str:
    files = (run["files_ok"] or 0) + (run["files_failed"] or 0)
    text = f"{run['id']} {run['status']}, {format_age(run['started_at'])}, "
    text += f"{run['files_ok'] or 0} of {files} files"
    if run["device"]:
        text += f", {run['engine']} on {run['device']} in {run['precision']}"
    if run["realtime_factor"]:
        text += f", {run['realtime_factor']:.1f} times real time"
    return text
