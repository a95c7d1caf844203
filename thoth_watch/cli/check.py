"""`check`: whether the configuration is right, where each value comes from, and whether all could start."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import config_option, engine_options, json_option, overrides_of
from thoth_watch.domain.errors import EXIT_OK, EXIT_UNAVAILABLE, ThothError


@click.command(
    epilog="""\b
Examples:
  thoth-watch check
  thoth-watch check -c /etc/thoth-watch/config.yaml --json"""
)
@config_option
@engine_options
@json_option
@click.option("--no-engine", is_flag=True, help="Do not load the engine.")
def check(config: Path | None, as_json: bool, no_engine: bool, **flags: Any) -> None:
    """Print every setting with its origin, then try inbox, ledger's folder and engine.

    Exits 0 if the service could start, 69 if the engine cannot be had, 75 if a folder is in the
    way, 78 if the configuration is wrong.
    """
    from thoth_watch.bootstrap import build_settings, builtin_note

    settings = build_settings(config, overrides_of(flags), required=True)
    values = [
        {"key": key, "value": origin.value, "source": origin.source}
        for key, origin in settings.origins.items()
    ]
    findings, exit_code = _findings(settings, with_engine=not no_engine)
    note = builtin_note(settings)
    if as_json:
        document = {"settings": values, "checks": findings, "note": note}
        click.echo(json.dumps(document, indent=2, default=str))
    else:
        _print(values, findings, note)
    sys.exit(exit_code)


def _findings(settings: Any, *, with_engine: bool) -> tuple[list[dict[str, Any]], int]:
    from thoth_watch.bootstrap import build_decoder, build_engine, inbox_of
    from thoth_watch.domain.errors import EXIT_TRY_LATER
    from thoth_watch.infrastructure.inbox.filesystem import file_system_of, must_poll
    from thoth_watch.infrastructure.ledger import lock_path

    findings: list[dict[str, Any]] = []
    exit_code = EXIT_OK
    for inbox in settings.inboxes:
        look = inbox_of(inbox).look()
        kind = file_system_of(inbox.path)
        polls = must_poll(inbox.path, inbox.watcher)
        said = look.problem or (
            f"{len(look.files)} recordings on {kind or 'an unknown file system'},"
            f" {'looked at by the clock' if polls else 'watched by inotify'}"
        )
        is_ok = look.problem is None
        if (
            is_ok
            and settings.treatment.output_dir == "source"
            and not os.access(inbox.path, os.W_OK)
        ):
            is_ok, said = False, "not writable: transcripts cannot be put beside the recordings"
        findings.append({"what": f"inbox {inbox.path}", "ok": is_ok, "said": said})
        exit_code = exit_code if is_ok else EXIT_TRY_LATER
    folder = lock_path(settings.ledger_url).parent
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    is_ok = os.access(nearest, os.W_OK)
    said = settings.ledger_url if is_ok else f"{nearest} is not writable for this user"
    findings.append({"what": "ledger", "ok": is_ok, "said": said})
    exit_code = exit_code if is_ok else EXIT_TRY_LATER
    if with_engine:
        decoder = build_decoder(settings.audio)
        try:
            engine = build_engine(settings.engine, decoder=decoder)
            got = engine.placement
            said = f"{got.engine} with {got.model} on {got.device} in {got.precision}"
            said += "".join(f"; instead of {f.asked}: {f.why}" for f in engine.fallbacks)
            findings.append({"what": "engine", "ok": True, "said": said})
        except ThothError as error:
            findings.append({"what": "engine", "ok": False, "said": str(error)})
            exit_code = EXIT_UNAVAILABLE
        finally:
            decoder.close()
    return findings, exit_code


def _print(values: list[dict[str, Any]], findings: list[dict[str, Any]], note: str | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoth_watch.cli.text import printable

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold", max_width=60)
    table.add_column("from", no_wrap=True)
    for row in values:
        value = row["value"]
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        source = str(row["source"])
        style = "dim" if source == "default" else ""
        table.add_row(row["key"], escape(printable(shown)), escape(source), style=style)
    console = Console()
    console.print(table)
    console.print()
    for finding in findings:
        mark = "[green]ok[/]" if finding["ok"] else "[red]no[/]"
        what, said = escape(printable(finding["what"])), escape(printable(finding["said"]))
        console.print(f"{mark}  {what}: {said}", highlight=False, soft_wrap=True)
    if note:
        console.print(f"[yellow]note[/]  {escape(note)}", highlight=False, soft_wrap=True)
