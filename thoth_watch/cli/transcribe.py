"""`transcribe FILE...`: transcribe the given files without an inbox or ledger."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import (
    engine_options,
    option_spellings,
    optional_config_option,
    overrides_of,
)
from thoth_watch.cli.whisper_flags import translate_flags, whisper_options
from thoth_watch.domain.errors import EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from thoth_watch.application.ports.engine import Progress


@click.command(
    epilog="""\b
Examples:
  thoth-watch transcribe talk.mp3
  thoth-watch transcribe *.wav --engine batch --output_format srt,json
  thoth-watch transcribe talk.mp3 --model openai/whisper-small --language fr -o texts/"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@optional_config_option
@engine_options
@click.option(
    "-o",
    *option_spellings("--output_dir"),
    "output_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for transcripts; default: next to each recording.",
)
@click.option(
    "-f",
    *option_spellings("--output_format"),
    "output_format",
    help="Transcript formats: txt, srt, vtt, tsv, json or all; separate several with commas.",
)
@whisper_options
def transcribe(
    *,
    files: tuple[Path, ...],
    config: Path | None,
    output_dir: Path | None,
    output_format: str | None,
    verbose: bool | None,
    **flags: Any,
) -> None:
    """Transcribe the given files without an inbox or ledger.

    The command keeps no record and reuses no earlier result. If an earlier run wrote a different
    transcript, that transcript is kept, the new one gets a different name, and the exit code is 1.
    Flags of openai/whisper and related tools are accepted, spelled with - or _; flags that have no
    effect here are listed in a note.
    """
    from thoth_watch.bootstrap import build_settings, build_transcribe_files, builtin_note
    from thoth_watch.cli.text import display_path, printable
    from thoth_watch.infrastructure.service.logs import set_up_logging

    overrides, unused = translate_flags(flags)
    overrides |= overrides_of(flags)
    if output_format:
        overrides["transcript.formats"] = [name.strip() for name in output_format.split(",")]
    if output_dir is not None:
        overrides["transcript.output_dir"] = str(output_dir)
    settings = build_settings(config, overrides, required=False)
    set_up_logging(level="warning")
    for note in (builtin_note(settings), unused):
        if note:
            click.echo(f"thoth-watch: {note}", err=True)
    some_failed = False
    with (
        _display(verbose) as progress,
        build_transcribe_files(settings, progress=progress) as transcribe_files,
    ):
        for outcome in transcribe_files(files):
            if outcome.written:
                names = ", ".join(display_path(path) for path in outcome.written)
                click.echo(f"{display_path(outcome.path)}: {names}")
                if outcome.text and (sys.stdout.isatty() if verbose is None else verbose):
                    click.echo(f"  {outcome.text}")
            if outcome.problem:
                some_failed = True
                click.echo(f"{display_path(outcome.path)}: {printable(outcome.problem)}", err=True)
    sys.exit(EXIT_SOME_FAILED if some_failed else EXIT_OK)


def _display(verbose: bool | None) -> AbstractContextManager[Progress]:
    from thoth_watch.application.ports.engine import NullProgress
    from thoth_watch.cli.progress import progress_display

    return (
        nullcontext(NullProgress()) if verbose is False else progress_display(has_file_names=False)
    )
