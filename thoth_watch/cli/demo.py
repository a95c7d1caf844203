"""`demo`: transcribe the bundled sample recordings with the same code as the daemon."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.errors import EXIT_OK, EXIT_SOME_FAILED, EngineUnavailable

CONFIG = """\
# written by `thoth-watch demo`
inbox: {{path: ./inbox, settle_s: 0.5}}
engine: {engine}
transcript: {{formats: [txt, srt, json]}}
ledger: {{url: sqlite:///thoth-watch.db}}
"""
ENGINE = {"engine_type": "batch", "model": "builtin"}

RUN_TABLE = (
    "SELECT id, status, engine, device, precision, files_ok, round(audio_s, 1) AS audio_s,"
    " round(wall_s, 2) AS wall_s, round(realtime_factor, 1) AS realtime_factor FROM runs"
)


@click.command(
    epilog="""\b
Examples:
  thoth-watch demo
  thoth-watch demo --dir /tmp/thoth-demo
  thoth-watch demo -c config.yaml      # with the engine section of config.yaml"""
)
@click.option(
    "-c",
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file; only its engine section is used.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the inbox and the ledger of the demonstration.",
)
def demo(config: Path | None, folder: Path) -> None:
    """Transcribe the sample recordings and show the results.

    Copies the sample recordings into an inbox, drains it as the daemon would, and prints the
    transcripts and the table of runs.
    """
    from thoth_watch.bootstrap import SAMPLES, build_service, build_settings, builtin_note
    from thoth_watch.cli.progress import progress_display
    from thoth_watch.cli.text import display_path
    from thoth_watch.infrastructure.service.logs import set_up_logging

    engine = ENGINE
    if config is not None:
        engine = _engine_keys(build_settings(config, {}, required=True).engine)
    if not (SAMPLES / "SAMPLES.json").exists():
        raise EngineUnavailable(
            "this copy of the program has no sample recordings;"
            " see training/README.md, or try `thoth-watch transcribe FILE --model openai/whisper-tiny`"
        )
    demo_folder = _unused_folder(folder)
    inbox = demo_folder / "inbox"
    inbox.mkdir(parents=True)
    text = CONFIG.format(engine=json.dumps(engine))  # JSON is YAML
    (demo_folder / "config.yaml").write_text(text, encoding="utf-8")
    truth = json.loads((SAMPLES / "SAMPLES.json").read_text(encoding="utf-8"))
    for sample in truth:
        shutil.copy(SAMPLES / sample["file"], inbox)

    settings = build_settings(demo_folder / "config.yaml", {}, required=True)
    set_up_logging(level="warning")
    if note := builtin_note(settings):
        click.echo(f"{note}\n")
    click.echo(
        f"{len(truth)} recordings copied to {display_path(inbox)}; transcribing them as the daemon would."
    )
    with (
        progress_display() as progress,
        build_service(settings, drain=True, progress=progress) as serve,
    ):
        serve()
    n_right = _show_transcripts(inbox, truth)
    click.echo(f"\n{n_right} of {len(truth)} transcripts match the expected text exactly.")
    database = demo_folder / "thoth-watch.db"
    click.echo(f'\n$ sqlite3 -header -column {display_path(database)} "{RUN_TABLE}"')
    _show_table(database, RUN_TABLE)
    click.echo(
        f"\nTo see more: ls {display_path(inbox)}; thoth-watch status -c {display_path(demo_folder / 'config.yaml')}"
    )
    done = sum(1 for sample in truth if _read_transcript(inbox, sample["file"]) is not None)
    sys.exit(EXIT_OK if done == len(truth) else EXIT_SOME_FAILED)


def _engine_keys(engine: TranscriptionEngineConfig) -> dict[str, Any]:
    """Return the `engine:` section that requests the same engine."""
    return {
        field.name: getattr(engine, field.name)
        for field in fields(engine)
        if field.name not in ("device_is_binding", "decoding")  # not keys of `engine:`
    }


def _unused_folder(folder: Path) -> Path:
    """Return the folder itself, or a new subfolder if an earlier demonstration used the folder."""
    if not (folder / "inbox").exists():
        return folder
    return folder / datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")


def _read_transcript(inbox: Path, name: str) -> str | None:
    """Return the text of the transcript next to a sample, or None if there is none."""
    for candidate in (Path(name).with_suffix(".txt").name, f"{name}.txt"):
        path = inbox / candidate
        if path.exists():
            return " ".join(path.read_text(encoding="utf-8").split())
    return None


def normalize_words(text: str) -> list[str]:
    """Return the words in the form used for comparison: lower case, no punctuation, hyphens as spaces."""
    kept = (c for c in text.lower().replace("-", " ") if c.isalnum() or c.isspace() or c == "'")
    return "".join(kept).split()


def _show_transcripts(inbox: Path, truth: list[dict[str, str]]) -> int:
    n_right = 0
    for sample in truth:
        transcript = _read_transcript(inbox, sample["file"])
        is_right = transcript is not None and normalize_words(transcript) == normalize_words(
            sample["text"]
        )
        n_right += is_right
        click.echo(f"\n{click.style(sample['file'], bold=True)} ({sample['voice']})")
        click.echo(f"  {transcript if transcript is not None else 'no transcript'}")
        if not is_right:
            click.echo(f"  expected: {sample['text']}")
    return n_right


def _show_table(database: Path, query: str) -> None:
    """Print a query's rows as `sqlite3 -header -column` does; works without that program."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        cursor = connection.execute(query)
        head = [column[0] for column in cursor.description]
        rows = [[str(value) for value in row] for row in cursor]
    finally:
        connection.close()
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        click.echo("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip())
