"""`transcribe FILE...`: transcripts of the named files, without inbox and ledger."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from thoth_watch.cli.options import config_option, engine_options, overrides_of, spelled
from thoth_watch.domain.errors import EXIT_OK, EXIT_SOME_FAILED


@click.command(
    epilog="""\b
Examples:
  thoth-watch transcribe talk.mp3
  thoth-watch transcribe *.wav --engine batch --output_format srt,json
  thoth-watch transcribe talk.mp3 --model openai/whisper-small --language fr -o texts/"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@config_option
@engine_options
@click.option(
    "-o",
    *spelled("--output_dir"),
    "output_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where transcripts go; beside each recording if not given.",
)
@click.option(
    "-f",
    *spelled("--output_format"),
    "output_format",
    help="txt, srt, vtt, tsv, json or all; several joined by commas.",
)
def transcribe(
    files: tuple[Path, ...],
    config: Path | None,
    output_dir: Path | None,
    output_format: str | None,
    **flags: Any,
) -> None:
    """Transcribe the named files now. Keeps no ledger and reuses nothing.

    A transcript of an earlier run that would come out otherwise now is left alone; the new one
    then gets a name of its own, and the exit code is 1.
    """
    from thoth_watch.bootstrap import build_settings, build_transcribe_files, builtin_note
    from thoth_watch.cli.show import progress_display
    from thoth_watch.cli.text import near, printable
    from thoth_watch.infrastructure.service.logs import set_up_logging

    overrides = overrides_of(flags)
    if output_format:
        overrides["transcript.formats"] = [word.strip() for word in output_format.split(",")]
    if output_dir is not None:
        overrides["transcript.output_dir"] = str(output_dir)
    settings = build_settings(config, overrides, required=False)
    set_up_logging(level="warning")
    note = builtin_note(settings)
    if note:
        click.echo(f"thoth-watch: {note}", err=True)
    some_failed = False
    with (
        progress_display(names_files=False) as progress,
        build_transcribe_files(settings, progress=progress) as transcribe_files,
    ):
        for outcome in transcribe_files(files):
            if outcome.written:
                click.echo(f"{near(outcome.path)}: {', '.join(near(p) for p in outcome.written)}")
                if sys.stdout.isatty() and outcome.text:
                    click.echo(f"  {outcome.text}")
            if outcome.problem:
                some_failed = True
                click.echo(f"{near(outcome.path)}: {printable(outcome.problem)}", err=True)
    sys.exit(EXIT_SOME_FAILED if some_failed else EXIT_OK)
