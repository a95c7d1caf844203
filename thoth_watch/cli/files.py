"""`files` and `retry`: list recordings by state, reason, folder and age, and retry failed ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import click

from thoth_watch.cli.options import (
    config_option,
    json_option,
    open_reader,
    option_spellings,
    settings_of,
)
from thoth_watch.cli.text import display_path
from thoth_watch.cli.times import TimeParam, format_age, format_media_time

RETRIABLE = ("FAILED", "QUARANTINED", "CONFLICT", "RETRY")
AGES = ((3600, "an hour"), (86_400, "a day"), (604_800, "a week"), (2_592_000, "30 days"))


@click.command(
    epilog="""\b
Examples:
  thoth-watch files --state FAILED --since 7d
  thoth-watch files --reason 'disk' --by folder
  thoth-watch files --match 'meetings/*' --json
  thoth-watch files --by reason
  thoth-watch files --suspect
  thoth-watch files --made-by openai/whisper-tiny"""
)
@config_option
@json_option
@click.option("--state", "states", multiple=True, help="Only files in this state; may be repeated.")
@click.option("--match", help="Only paths that contain this text or match this glob.")
@click.option("--reason", help="Only files whose reason contains this text.")
@click.option(
    "--since",
    type=TimeParam(),
    help="Only files whose state changed within this period (7d, 12h) or since this date.",
)
@click.option(
    "--before",
    type=TimeParam(),
    help="Only files whose state last changed longer ago than this period (7d, 12h) or before this date.",
)
@click.option(
    "--suspect", is_flag=True, help="Only files with a suspect transcript, with the reasons."
)
@click.option(
    *option_spellings("--made_by"),
    "made_by",
    help="Only files transcribed by this model, or by MODEL@REVISION.",
)
@click.option(
    "--by",
    type=click.Choice(["state", "reason", "folder", "age"]),
    help="Count files by this property instead of listing them.",
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Maximum number of files.")
def files(
    *,
    config: Path | None,
    as_json: bool,
    states: tuple[str, ...],
    by: str | None,
    suspect: bool,
    **filters: Any,
) -> None:
    """List all recordings ever seen, with state and reason."""
    from thoth_watch.cli.tables import print_json

    selected_states = _parse_states(states)
    with open_reader(config) as reader:
        verdicts = ("suspect",) if suspect else ()
        rows = reader.files(states=selected_states, verdicts=verdicts, **filters)
    if by is not None:
        groups = _group(rows, by)
        print_json(groups) if as_json else _print_groups(groups, by)
    else:
        print_json(rows) if as_json else print_files(rows)


def print_files(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one line per file: state, length, attempts, age of the state, path and reason."""
    from thoth_watch.cli.tables import Column, print_table

    print_table(
        [
            Column("state"),
            Column("audio", is_number=True),
            Column("attempts", is_number=True),
            Column("changed"),
            Column("path", is_wrapped=True),
            Column("reason", is_wrapped=True),
        ],
        [
            (
                str(row["state"]),
                format_media_time(row["duration_s"]),
                str(row["attempts"]),
                format_age(row["updated_at"]),
                display_path(row["path"]),
                row["reason"] or "; ".join(row.get("doubts") or ()),
            )
            for row in rows
        ],
        empty="no files",
    )


def _group(rows: Iterable[Mapping[str, Any]], by: str) -> list[dict[str, Any]]:
    """Return the number of files in each group, the largest group first."""
    from thoth_watch.domain.reasons import normalize_reason

    now = datetime.now(UTC)
    keys: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "state": lambda row: str(row["state"]),
        "reason": lambda row: normalize_reason(row["reason"] or "") or "(done)",
        "folder": lambda row: str(PurePath(row["path"]).parent),
        "age": lambda row: _age_group((now - row["updated_at"]).total_seconds()),
    }
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[keys[by](row)].append(row)
    counts = [
        {
            by: name,
            "files": len(members),
            "audio_s": round(sum(member["duration_s"] or 0.0 for member in members), 3),
            "oldest": min(member["updated_at"] for member in members),
        }
        for name, members in groups.items()
    ]
    return sorted(counts, key=lambda group: (-group["files"], group[by]))


def _age_group(seconds: float) -> str:
    for limit_s, age in AGES:
        if seconds < limit_s:
            return f"less than {age}"
    return "older"


def _print_groups(groups: Iterable[Mapping[str, Any]], by: str) -> None:
    from thoth_watch.cli.tables import Column, print_table

    columns = [Column("files", is_number=True), Column("audio", is_number=True)]
    columns += [Column("oldest"), Column(by, is_wrapped=True)]
    print_table(
        columns,
        [
            (
                str(group["files"]),
                format_media_time(group["audio_s"]),
                format_age(group["oldest"]),
                group[by],
            )
            for group in groups
        ],
        empty="no files",
    )


@click.command(
    epilog="""\b
Examples:
  thoth-watch retry inbox/talk.mp3
  thoth-watch retry --state FAILED --state QUARANTINED
  thoth-watch retry --made-by openai/whisper-tiny
  thoth-watch retry --all"""
)
@config_option
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--state", "states", multiple=True, help="Retry all files in this state; may be repeated."
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Retry all files that failed or are waiting for a retry.",
)
@click.option(
    *option_spellings("--made_by"),
    "made_by",
    help="Retry all files transcribed by this model, or by MODEL@REVISION.",
)
def retry(
    config: Path | None,
    paths: tuple[Path, ...],
    states: tuple[str, ...],
    everything: bool,
    made_by: str | None,
) -> None:
    """Retry failed files, or all files transcribed by one model.

    The attempt count is reset to zero. A transcript that thoth-watch wrote is replaced if it is
    unchanged. A transcript that was edited is kept, and the new one gets a different name
    (CONFLICT).
    """
    from thoth_watch.bootstrap import retry_files

    if not (paths or states or everything or made_by):
        raise click.UsageError(
            "no files selected; name files, or use --state STATE, --made-by MODEL or --all"
        )
    selected_states = _parse_states(states) or (None if paths or made_by else RETRIABLE)
    n = retry_files(
        settings_of(config),
        states=selected_states,
        paths=[path.parent.resolve() / path.name for path in paths] or None,
        made_by=made_by,
    )
    click.echo(f"{n} file{'' if n == 1 else 's'} will be retried")


def _parse_states(states: tuple[str, ...]) -> tuple[str, ...] | None:
    from thoth_watch.domain.states import State

    selected_states = tuple(state.upper() for state in states)
    for state in selected_states:
        if state not in tuple(State):
            raise click.UsageError(f"unknown state {state}; use one of {', '.join(State)}")
    return selected_states or None
