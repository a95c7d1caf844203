"""`runs` and `runs show`: list runs, with engine, device and speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import config_option, json_option, open_reader
from thoth_watch.cli.text import printable
from thoth_watch.cli.times import TimeParam, format_media_time, format_time

DEFAULT_LIMIT = 20
STAGES = ("load_s", "queue_s", "decode_s", "features_s", "encode_s", "generate_s", "write_s")


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  thoth-watch runs
  thoth-watch runs --since 7d --json
  thoth-watch runs --export runs.csv
  thoth-watch runs show 12""",
)
@config_option
@json_option
@click.option(
    "-n",
    "--limit",
    type=int,
    help="Maximum number of runs, newest first; default: 20, or all with --export.",
)
@click.option(
    "--since",
    type=TimeParam(),
    help="Only runs that began within this period (7d, 12h) or since this date.",
)
@click.option(
    "--export",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all columns to a new file NAME.csv or NAME.parquet (Parquet requires the parquet extra).",
)
@click.pass_context
def runs(
    ctx: click.Context,
    *,
    config: Path | None,
    as_json: bool,
    limit: int | None,
    since: datetime | None,
    target: Path | None,
) -> None:
    """List runs with device, precision, files, audio and time."""
    ctx.obj = config
    if ctx.invoked_subcommand is not None:
        return
    from thoth_watch.cli.tables import Column, print_json, print_table

    with open_reader(config) as reader:
        rows = reader.runs(limit=limit or (None if target else DEFAULT_LIMIT), since=since)
        all_columns = reader.run_columns
    if target is not None:
        _export(rows, all_columns, target)
        return
    if as_json:
        print_json(rows)
        return
    columns = [Column("run", is_number=True)]
    columns += [Column(name) for name in ("started", "status", "engine", "device")]
    columns += [Column(name, is_number=True) for name in ("files", "audio", "wall s", "speed")]
    print_table(columns, [_table_row(row) for row in rows], empty="no runs yet")
    for row in rows:
        for note in _notes(row):
            click.echo(f"run {row['id']}: {note}", err=True)


@runs.command(
    epilog="""\b
Examples:
  thoth-watch runs show 12
  thoth-watch runs show 12 --json"""
)
@click.argument("run_id", type=int)
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, *, run_id: int, config: Path | None, as_json: bool) -> None:
    """Show one run: requested and actual settings, time per stage, files."""
    from thoth_watch.cli.tables import print_json
    from thoth_watch.domain.errors import RetryLater

    with open_reader(config or ctx.obj) as reader:
        run = reader.run(run_id)
    if run is None:
        raise RetryLater(f"run {run_id} does not exist; `thoth-watch runs` lists the runs")
    if as_json:
        print_json(run)
    else:
        _print_run(run)


def _export(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], target: Path) -> None:
    from thoth_watch.domain.errors import EngineUnavailable, RetryLater
    from thoth_watch.infrastructure.exporting import WRITERS, export

    if target.suffix.lower() not in WRITERS:
        raise click.UsageError(
            f"{target}: unknown file type; the name must end in {' or '.join(WRITERS)}"
        )
    try:
        export(rows, columns, target)
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"Parquet needs {error.name}: pip install 'thoth-watch[parquet]'"
        ) from error
    except FileExistsError as error:
        raise RetryLater(
            f"{target}: already exists and was not changed; choose another name"
        ) from error
    except OSError as error:
        raise RetryLater(f"{target}: {error.strerror}; choose another path") from error
    click.echo(f"wrote {len(rows)} runs to {target}")


def _print_run(run: Mapping[str, Any]) -> None:
    from thoth_watch.cli.tables import Column, print_table

    facts = [
        ("run", f"{run['id']} {run['status']}"),
        ("started", format_time(run["started_at"])),
        ("finished", format_time(run["finished_at"])),
        *(
            (key, _used_and_requested(run, key))
            for key in ("engine", "model", "device", "precision")
        ),
        ("device name", run["device_name"] or "-"),
        ("batch size", str(run["batch_size"] or "-")),
        *(("diarization", name) for name in [(run["versions"] or {}).get("diarization")] if name),
        ("files", _count_files(run)),
        ("audio", format_media_time(run["audio_s"])),
        (
            "wall time",
            f"{run['wall_s'] or 0:.1f} s, {run['realtime_factor'] or 0:.1f} times real time",
        ),
        ("peak memory", _gib(run["peak_rss_bytes"]) + _gpu(run)),
        ("host", run["host"]),
    ]
    for name, value in facts:
        click.echo(f"{name + ':':<14}{printable(value)}")
    for note in _notes(run):
        click.echo(f"{'note:':<14}{printable(note)}")
    click.echo()
    stages = [(name.removesuffix("_s"), run[name] or 0.0) for name in STAGES]
    print_table(
        [Column("stage"), Column("seconds", is_number=True)],
        [(name, f"{seconds:.2f}") for name, seconds in stages],
        empty="",
    )
    click.echo()
    print_table(
        [
            Column("state"),
            Column("audio", is_number=True),
            Column("reused"),
            Column("file", is_wrapped=True),
            Column("reason", is_wrapped=True),
        ],
        [
            (
                member["state"],
                format_media_time(member["duration_s"]),
                "yes" if member["reused"] else "",
                member["path"],
                member["reason"],
            )
            for member in run["files"]
        ],
        empty="no files",
    )


def _used_and_requested(run: Mapping[str, Any], key: str) -> str:
    """Return the value used, followed by the requested value if that was different."""
    used, requested = run[key], run[f"{key}_asked"]
    if used is None:
        return f"- (requested: {requested})"
    return str(used) if requested in (used, "auto") else f"{used} (requested: {requested})"


def _gib(n_bytes: int | None) -> str:
    return f"{(n_bytes or 0) / 2**30:.1f} GiB"


def _gpu(run: Mapping[str, Any]) -> str:
    return f", GPU {_gib(run['peak_gpu_bytes'])}" if run["peak_gpu_bytes"] else ""


def _table_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["id"]),
        format_time(row["started_at"])[5:16],
        str(row["status"]),
        str(row["engine"] or row["engine_asked"]),
        f"{row['device'] or '-'} {row['precision'] or ''}".strip(),
        _count_files(row),
        format_media_time(row["audio_s"]),
        f"{row['wall_s'] or 0:.1f}",
        f"{row['realtime_factor'] or 0:.1f}x",
    )


def _count_files(row: Mapping[str, Any]) -> str:
    ok, failed = row["files_ok"] or 0, row["files_failed"] or 0
    return f"{ok} of {ok + failed}" if failed else str(ok)


def _notes(row: Mapping[str, Any]) -> Iterator[str]:
    if row["error"]:
        yield str(row["error"])
    for fallback in row["fallbacks"] or ():
        yield f"{fallback['got']} instead of {fallback['asked']}: {fallback['why']}"
