"""`status`: how things stand, in one look."""

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
    "ignored": "hidden or partial ignored",
    "other": "other files",
}
UNRESPONSIVE_AFTER_S = 60.0  # a worker that was not heard of for so long is pointed out
MAX_FILES_SHOWN = 20  # files that are named; the rest is counted


@click.command(
    epilog="""\b
Examples:
  thoth-watch status
  thoth-watch status --json | jq .backlog"""
)
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """What waits, runs and failed, how long the backlog may take, and the last run."""
    from thoth_watch.bootstrap import build_inbox
    from thoth_watch.cli.tables import print_json
    from thoth_watch.domain.states import State
    from thoth_watch.infrastructure.ledger import LedgerReader, lock_path
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
        for what, words in OTHER_COUNTS.items():
            text += f", {inbox[what]} {words}" if inbox[what] else ""
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
            f"run {run['id']} on {run['device'] or '-'}, began {format_age(run['started_at'])}",
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
    text = f"works (process {process})" if process else "does not work now"
    if document["fleet"] is not None:
        dispatcher = document["fleet"]["dispatcher"]
        text = f"dispatches ({dispatcher})" if dispatcher else "nobody dispatches now"
    return f"{text}; nothing is begun until {quiet_until:%H:%M}" if quiet_until else text


def _format_fleet(fleet: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str | None]]:
    """Lines on workers elsewhere: what they do, and what waits for them."""
    if fleet is None:
        return
    waits_s = fleet["oldest_wait_s"]
    text = f"{fleet['sent']} batches sent, {fleet['leased']} worked on"
    yield (
        "queue",
        text + (f"; the oldest file waits for {format_duration(waits_s)}" if waits_s else ""),
        None,
    )
    if not fleet["workers"]:
        yield "workers", "none; start some with `thoth-watch worker`", "red"
    for number, row in enumerate(fleet["workers"]):
        does = f"batch {row['batch_id']}, {row['files']} files left" if row["batch_id"] else "waits"
        is_silent = row["silent_s"] > UNRESPONSIVE_AFTER_S
        does = f"not heard of for {format_duration(row['silent_s'])}" if is_silent else does
        text = f"{row['name']} on {row['device']}: {does}"
        yield "workers" if number == 0 else "", text, "yellow" if is_silent else None


def _print_retry_hint(unfinished: list[Mapping[str, Any]]) -> None:
    from thoth_watch.domain.states import NEEDS_ATTENTION

    if any(row["state"] in NEEDS_ATTENTION for row in unfinished):
        click.secho("`thoth-watch retry --all` tries again what failed", dim=True)


def _format_backlog(backlog: Mapping[str, Any]) -> str:
    if not backlog["files"]:
        return "nothing waits"
    files = backlog["files"]
    unknown = backlog["files_of_unknown_length"]
    text = f"{files} file{'' if files == 1 else 's'}"
    if unknown == files:
        return f"{text} of a length not known yet"
    text += f", {format_media_time(backlog['audio_s'])} of audio"
    text += f" ({unknown} of unknown length)" if unknown else ""
    if backlog["finish_s"] is None:
        return f"{text}; no run yet to tell how long that takes"
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
