"""`bench`: time the three engines on the same files, to choose the fastest one for this machine."""

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
  thoth-watch bench                         with the sample recordings and the builtin model
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
    help="Number of passes per engine; the medians are shown.",
)
@json_option
def bench(
    *, files: tuple[Path, ...], config: Path | None, rounds: int, as_json: bool, **flags: Any
) -> None:
    """Time the engines on FILES and compare their transcripts.

    Without FILES, the sample recordings are used. Each engine does everything that `transcribe`
    does, in its own process, and the transcripts are discarded. The engines take turns in every
    round. With --engine, only that engine is compared with the standard engine. First, each engine
    transcribes the first file once as a warm-up that is not counted. On a GPU, the ratios compare
    wall-clock times; on a CPU, they compare CPU times, which are less affected by other programs.
    """
    from thoth_watch.bootstrap import build_settings
    from thoth_watch.cli.tables import Column, print_json, print_table

    overrides = overrides_of(flags)
    build_settings(config, overrides, required=False)  # report errors before anything starts
    requested = overrides.pop("engine.engine_type", None)
    compared = [requested] if requested else [EngineType.ACCELERATED, EngineType.BATCH]
    engines = list(dict.fromkeys([EngineType.STANDARD.value, *map(str, compared)]))
    recordings = list(files) or _sample_recordings()
    targets: dict[str, TargetProcess] = {}
    try:
        for engine in engines:
            targets[engine] = _start(engine, config, overrides)
            targets[engine].run(recordings[:1])
        passes: dict[str, list[BenchmarkPass]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine in engines:
                passes[engine].append(targets[engine].run(recordings))
    finally:
        peaks = {engine: target.close() for engine, target in targets.items()}
    rows = _rows(
        {e: BenchmarkSummary.of(p) for e, p in passes.items()}, targets, peaks, len(recordings)
    )
    if as_json:
        print_json({"files": [str(path) for path in recordings], "rounds": rounds, "rows": rows})
    else:
        columns = [
            Column(n, is_number=n in NUMBER_COLUMNS) for n in (*TEXT_COLUMNS, *NUMBER_COLUMNS)
        ]
        print_table(columns, [_cells(row) for row in rows], empty="no measurements")


def _start(engine: str, config: Path | None, overrides: dict[str, Any]) -> TargetProcess:
    from functools import partial

    from thoth_watch.bootstrap import TargetProcess, ThothTarget

    requested = {**overrides, "engine.engine_type": engine}
    if engine == EngineType.STANDARD:  # supports only float32 and full 30 s windows
        requested |= {"engine.precision": "auto", "engine.audio_context": "full"}
    return TargetProcess(partial(ThothTarget, config, requested))


def _sample_recordings() -> list[Path]:
    from thoth_watch.bootstrap import SAMPLES

    try:
        samples = json.loads((SAMPLES / "SAMPLES.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineUnavailable(
            "this copy of the program has no sample recordings; name your own: thoth-watch bench FILE..."
        ) from None
    return [SAMPLES / sample["file"] for sample in samples]


def _rows(
    summaries: dict[str, BenchmarkSummary],
    targets: dict[str, TargetProcess],
    peaks: dict[str, int],
    n_files: int,
) -> Sequence[dict[str, Any]]:
    standard = summaries[EngineType.STANDARD]
    on_gpu = any(target.facts["on_gpu"] for target in targets.values())

    def cost_s(summary: BenchmarkSummary) -> float:
        return summary.wall_s if on_gpu else summary.cpu_s

    return [
        {
            "engine": engine,
            "device": targets[engine].facts["device"],
            "precision": targets[engine].facts["precision"],
            "wall_s_per_file": summary.wall_s / n_files,
            "cpu_s_per_file": summary.cpu_s / n_files,
            "ratio_to_standard": cost_s(standard) / max(cost_s(summary), 1e-9),
            "peak_rss_bytes": peaks[engine],
            "words_agreed": word_agreement(standard.words, summary.words),
            "load_s": targets[engine].facts["load_s"],
            "stages": summary.stages,
        }
        for engine, summary in summaries.items()
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
