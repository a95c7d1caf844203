"""`bench`: the three engines on the same files, in turn, so that a machine's own figures choose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import (
    engine_options,
    json_option,
    optional_config_option,
    overrides_of,
)
from thoth_watch.domain.engine import EngineType
from thoth_watch.domain.engine_comparison import (
    STAGES,
    BenchmarkPass,
    BenchmarkSummary,
    word_agreement,
)
from thoth_watch.domain.errors import EngineUnavailable

if TYPE_CHECKING:
    from thoth_watch.bootstrap import TargetProcess

TEXT_COLUMNS = ("engine", "device", "precision")
NUMBER_COLUMNS = ("s/file", "cpu s/file", "x standard", "MB", "words", "load", *STAGES)


@click.command(
    epilog="""\b
Examples:
  thoth-watch bench                         the sample recordings, the builtin model
  thoth-watch bench --model small talk.mp3 meeting.m4a
  thoth-watch bench -c config.yaml --engine batch --rounds 5 --json"""
)
@click.argument(
    "files",
    nargs=-1,
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
)
@optional_config_option
@engine_options
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Passes of each engine; medians are shown.",
)
@json_option
def bench(
    *, files: tuple[Path, ...], config: Path | None, rounds: int, as_json: bool, **flags: Any
) -> None:
    """Time the engines on FILES, or on the sample recordings, and say what they agree on.

    Each engine does all that `transcribe` does, in a process of its own, in turn, round after round;
    transcripts are thrown away. With --engine only that one is held against the standard engine.
    One pass over the first file goes before, uncounted. Ratios are of wall seconds on a GPU and of
    processor seconds on a CPU, which other programs disturb less.
    """
    from thoth_watch.bootstrap import build_settings
    from thoth_watch.cli.tables import Column, print_json, print_table

    overrides = overrides_of(flags)
    build_settings(
        config, overrides, required=False
    )  # what is wrong is said before anything starts
    asked = overrides.pop("engine.engine_type", None)
    others = [asked] if asked else [EngineType.ACCELERATED, EngineType.BATCH]
    engines = list(dict.fromkeys([EngineType.STANDARD.value, *map(str, others)]))
    recordings = list(files) or _sample_recordings()
    timed: dict[str, TargetProcess] = {}
    try:
        for engine in engines:
            timed[engine] = _start(engine, config, overrides)
            timed[engine].run(recordings[:1])
        passes: dict[str, list[BenchmarkPass]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine in engines:
                passes[engine].append(timed[engine].run(recordings))
    finally:
        peaks = {engine: one.close() for engine, one in timed.items()}
    rows = _rows(
        {e: BenchmarkSummary.of(p) for e, p in passes.items()}, timed, peaks, len(recordings)
    )
    if as_json:
        print_json({"files": [str(path) for path in recordings], "rounds": rounds, "rows": rows})
    else:
        columns = [
            Column(n, is_number=n in NUMBER_COLUMNS) for n in (*TEXT_COLUMNS, *NUMBER_COLUMNS)
        ]
        print_table(columns, [_cells(row) for row in rows], empty="nothing was timed")


def _start(engine: str, config: Path | None, overrides: dict[str, Any]) -> TargetProcess:
    from functools import partial

    from thoth_watch.bootstrap import TargetProcess, ThothTarget

    asked = {**overrides, "engine.engine_type": engine}
    if engine == EngineType.STANDARD:  # it computes in float32, and sees whole windows
        asked |= {"engine.precision": "auto", "engine.audio_context": "full"}
    return TargetProcess(partial(ThothTarget, config, asked))


def _sample_recordings() -> list[Path]:
    from thoth_watch.bootstrap import SAMPLES

    try:
        listed = json.loads((SAMPLES / "SAMPLES.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineUnavailable(
            "this copy of the program has no sample recordings; name some: thoth-watch bench FILE..."
        ) from None
    return [SAMPLES / sample["file"] for sample in listed]


def _rows(
    figures: dict[str, BenchmarkSummary],
    timed: dict[str, TargetProcess],
    peaks: dict[str, int],
    n_files: int,
) -> Sequence[dict[str, Any]]:
    standard = figures[EngineType.STANDARD]
    on_gpu = any(one.facts["on_gpu"] for one in timed.values())

    def cost_s(of: BenchmarkSummary) -> float:
        return of.wall_s if on_gpu else of.cpu_s

    return [
        {
            "engine": engine,
            "device": timed[engine].facts["device"],
            "precision": timed[engine].facts["precision"],
            "wall_s_per_file": found.wall_s / n_files,
            "cpu_s_per_file": found.cpu_s / n_files,
            "ratio_to_standard": cost_s(standard) / max(cost_s(found), 1e-9),
            "peak_rss_bytes": peaks[engine],
            "words_agreed": word_agreement(standard.words, found.words),
            "load_s": timed[engine].facts["load_s"],
            "stages": found.stages,
        }
        for engine, found in figures.items()
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["engine"],
        row["device"],
        row["precision"],
        f"{row['wall_s_per_file']:.3f}",
        f"{row['cpu_s_per_file']:.3f}",
        f"{row['ratio_to_standard']:.2f}",
        f"{row['peak_rss_bytes'] / 1e6:.0f}",
        f"{100 * row['words_agreed']:.1f} %",
        *(f"{s:.2f}" for s in (row["load_s"], *(row["stages"][name] for name in STAGES))),
    ]
