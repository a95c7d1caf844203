"""Times the three engines and transformers' pipeline on the same files, side by side.

    python -m benchmarks.bench [--quick]

Systems of a size run in turn, round after round, each in a process of its own; medians are shown.
Processor seconds count on a CPU, as other programs may run beside; wall seconds on a GPU.
Writes benchmarks/out/bench.json and bench.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.checkpoints import SHAPES, Shape, make_checkpoint
from benchmarks.limits import POSITIONS, multiply_rate, window_operations
from benchmarks.recordings import Recordings, make_recordings
from benchmarks.systems import Measured, Sample, System

OUT = Path("benchmarks/out")
BUILTIN = Path("thoth_watch/builtin/model")
BUILTIN_SHAPE = Shape(192, 3, 2, 3, vocabulary=2309)  # a word is one token of it
N_MARKS = 4  # timestamps and end-of-text of a window
N_TOKENS = 48  # of each window of a random model, as in 20 words
WINDOW_S = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ratios are medians of rounds against the standard engine's."""

    size: str
    files: str
    audio_context: str
    engine: str
    precision: str
    device: str
    seconds_per_file: float
    ratio_to_standard: float
    peak_rss_bytes: int
    rss_ratio_to_standard: float
    words_agreed: float | None  # share; None for random weights
    multiple_of_limit: float
    load_s: float
    stages: dict[str, float]  # wall seconds of a pass


def systems_of(size: str, model: str) -> list[System]:
    """What is compared at a size."""
    return [
        System("pipeline", str(BUILTIN) if size == "builtin" else model),
        System("standard", model),
        System("accelerated", model, "full"),
        System("accelerated", model, "trim"),
        System("batch", model, "full"),
        System("batch", model, "trim"),
    ]


def measure(
    size: str, recordings: dict[str, Recordings], *, rounds: int, threads: int, device: str
) -> Iterator[Row]:
    """Measure all systems at one size."""
    model = "builtin" if size == "builtin" else str(make_checkpoint(OUT, size, n_tokens=N_TOKENS))
    shape = BUILTIN_SHAPE if size == "builtin" else SHAPES[size]
    running = [Measured(s, threads=threads, device=device) for s in systems_of(size, model)]
    taken: dict[tuple[int, str], list[Sample]] = {}
    try:
        for kind, found in recordings.items():
            for turn in range(rounds + 1):  # the first warms up
                for number, measured in enumerate(running):
                    sample = measured.run(found.files)
                    if turn:
                        taken.setdefault((number, kind), []).append(sample)
    finally:
        peaks = [measured.close() for measured in running]
    on_gpu = "cpu" not in device and "cuda" in device

    def cost(number: int, kind: str) -> float:
        return statistics.median(s.wall_s if on_gpu else s.cpu_s for s in taken[number, kind])

    standard = next(n for n, m in enumerate(running) if m.system.engine == "standard")
    for (number, kind), samples in taken.items():
        measured, found = running[number], recordings[kind]
        trims = measured.system.audio_context == "trim"
        windows = len(found.files) if kind == "short" else found.seconds / WINDOW_S
        positions = min(POSITIONS, found.seconds / windows * 50) if trims else POSITIONS
        n_words = sum(len(text.split()) for text in found.texts)
        n_tokens = n_words / windows + N_MARKS if size == "builtin" else N_TOKENS
        operations = windows * window_operations(shape, positions=int(positions), n_tokens=n_tokens)
        limit_s = operations / multiply_rate(
            measured.facts["precision"], "cuda" if on_gpu else "cpu"
        )
        reference = " ".join(taken[standard, kind][0].texts).split()
        yield Row(
            size=size,
            files=kind,
            audio_context=measured.system.audio_context,
            engine=measured.system.engine,
            precision=measured.facts["precision"],
            device=measured.facts["device"],
            seconds_per_file=cost(number, kind) / len(found.files),
            ratio_to_standard=cost(standard, kind) / cost(number, kind),
            peak_rss_bytes=peaks[number],
            rss_ratio_to_standard=peaks[number] / peaks[standard],
            words_agreed=_agreed(reference, " ".join(samples[0].texts).split())
            if size == "builtin"
            else None,
            multiple_of_limit=cost(number, kind) / limit_s,
            load_s=measured.facts["load_s"],
            stages={
                name: statistics.median(s.stages[name] for s in samples)
                for name in samples[0].stages
            },
        )  # fmt: skip


def _agreed(words: list[str], others: list[str]) -> float:
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    return same / max(len(words), len(others), 1)


def show(rows: list[Row], console: Console) -> None:
    """Print the table."""
    table = Table("size", "files", "context", "engine", "precision")
    for name in (
        "s/file",
        "x standard",
        "MB",
        "x memory",
        "words",
        "x limit",
        "encode",
        "generate",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.size, row.files, row.audio_context, row.engine, row.precision,
            f"{row.seconds_per_file:.3f}", f"{row.ratio_to_standard:.2f}",
            f"{row.peak_rss_bytes / 1e6:.0f}", f"{row.rss_ratio_to_standard:.2f}",
            "" if row.words_agreed is None else f"{100 * row.words_agreed:.1f} %",
            f"{row.multiple_of_limit:.1f}",
            *(f"{row.stages[s]:.2f}" if s in row.stages else "" for s in ("encode", "generate")),
        )  # fmt: skip
    console.print(table)


def plot(rows: list[Row], path: Path) -> None:
    """Draw how many times faster than standard each system is, by size and kind of file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = sorted({(r.size, r.files) for r in rows}, key=lambda g: (g[1] == "long", g[0]))
    names = list(dict.fromkeys((r.engine, r.audio_context) for r in rows))
    figure, axes = plt.subplots(figsize=(2 + 1.6 * len(groups), 4), layout="constrained")
    for place, name in enumerate(names):
        at = [i + 0.8 * place / len(names) for i in range(len(groups))]
        heights = [
            next((r.ratio_to_standard for r in rows
                  if (r.size, r.files) == g and (r.engine, r.audio_context) == name), 0.0)
            for g in groups
        ]  # fmt: skip
        axes.bar(at, heights, width=0.8 / len(names), label=" ".join(name))
    axes.set_xticks([i + 0.4 for i in range(len(groups))], [f"{s}\n{f} files" for s, f in groups])
    axes.set_ylabel("times as fast as standard")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="builtin and tiny only")
    parser.add_argument("--sizes", nargs="+", choices=["builtin", *SHAPES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short-files", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    sizes = given.sizes or (["builtin", "tiny"] if given.quick else ["builtin", *SHAPES])
    console = Console(width=150)
    if "builtin" in sizes and not BUILTIN.is_dir():
        console.print("the builtin model is not here; its rows are left out")
        sizes.remove("builtin")
    recordings = make_recordings(OUT / "recordings", n_short=given.short_files)
    rows: list[Row] = []
    for size in sizes:
        rows += measure(
            size, recordings, rounds=given.rounds, threads=given.threads, device=given.device
        )
        show([row for row in rows if row.size == size], console)
    written: dict[str, Any] = {"threads": given.threads, "rows": [asdict(row) for row in rows]}
    (OUT / "bench.json").write_text(json.dumps(written, indent=1) + "\n")
    plot(rows, OUT / "bench.png")
    console.print(f"{OUT / 'bench.json'}, {OUT / 'bench.png'}")


if __name__ == "__main__":
    main()
