"""Compares the speed of the three engines and of transformers' pipeline on the same files.

    python -m benchmarks.bench [--quick]

Systems of a size take turns, round after round, each in its own process; the table shows medians.
CPU seconds are compared on a CPU, because other programs may run at the same time, and wall seconds on
a GPU.
Writes benchmarks/out/bench.json and bench.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import WhisperConfig

from benchmarks.checkpoints import SHAPES, Shape, make_checkpoint
from benchmarks.interleaved_runs import run_interleaved
from benchmarks.limits import POSITIONS, Rates, measure_rates, window_limit_s
from benchmarks.recordings import Recordings, make_recordings
from benchmarks.systems import System
from thoth_watch.domain.engine_comparison import STAGES, word_agreement
from thoth_watch.infrastructure.whisper.placement import has_native_bfloat16

OUT = Path("benchmarks/out")
BUILTIN = Path("thoth_watch/builtin/model")
N_SPECIAL_TOKENS = 4  # timestamps and end-of-text per window
N_TOKENS = 48  # per window of a random model, about 20 words
WINDOW_S = 30.0
POSITIONS_PER_S = 50
MAX_SLOWDOWN = 1.05  # standard's cost over the pipeline's; above it, ratios are to the pipeline
ROW_FIELDS = (
    *("size", "files", "audio_context", "engine", "device", "ratio_to_standard"),
    *("rss_ratio_to_standard", "words_agreed", "multiple_of_limit"),
)


@dataclass(frozen=True, slots=True)
class Workload:
    """The amount of audio for a size; large models get less because they are slow."""

    n_short: int
    long_s: float
    is_kept_loaded: bool = True  # False: loaded for each turn, so that one is in memory at a time


WORKLOADS = {
    "builtin": Workload(64, 120.0),
    "tiny": Workload(16, 120.0),
    "base": Workload(16, 120.0),
    "small": Workload(8, 60.0),
    "large-v3-turbo": Workload(2, 45.0, is_kept_loaded=False),
}
GPU_WORKLOAD = Workload(256, 1200.0, is_kept_loaded=False)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; ratios are of medians, to the standard engine or to the pipeline."""

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
    words_agreed: float | None  # share of words equal to standard's; None for random weights
    multiple_of_limit: float
    load_s: float
    stages: dict[str, float]  # wall seconds per pass
    is_default: bool  # True for precision `auto`


def systems_of(size: str, model: str, *, device: str, batch_size: int | None) -> list[System]:
    """Return the systems that are compared at a size."""
    systems = [
        System("pipeline", str(BUILTIN))
        if size == "builtin"
        else System("pipeline", model, n_tokens=N_TOKENS)
    ]
    systems += [System("standard", model)]
    for engine in ("accelerated", "batch"):
        systems += [System(engine, model, c, batch_size=batch_size) for c in ("full", "trim")]
    if size == "builtin" and device == "cpu" and has_native_bfloat16():
        for precision in ("bfloat16+int8", "int8"):  # `auto` is float32 for this narrow model
            systems += [System("batch", model, c, precision) for c in ("full", "trim")]
    return systems


def shape_of(model: Path) -> Shape:
    """Return the dimensions of a checkpoint."""
    config = WhisperConfig.from_pretrained(model)
    return Shape(
        config.d_model,
        config.encoder_layers,
        config.decoder_layers,
        config.decoder_attention_heads,
        n_mels=config.num_mel_bins,
        vocabulary=config.vocab_size,
    )


def measure(
    size: str, args: argparse.Namespace, rates: Rates, recordings: dict[str, Recordings]
) -> Iterator[Line]:
    """Measure all systems at one size and yield a line per kind of file and system."""
    is_builtin = size == "builtin"
    model = "builtin" if is_builtin else str(make_checkpoint(OUT, size, n_tokens=N_TOKENS))
    shape = shape_of(BUILTIN if is_builtin else Path(model))
    systems = systems_of(size, model, device=args.device, batch_size=args.batch_size)
    systems = [s for s in systems if not args.engines or s.engine in args.engines]
    runs = run_interleaved(
        [system.target(args.device) for system in systems],
        {kind: recordings[kind].files for kind in args.files},
        rounds=args.rounds,
        threads=args.threads,
        is_kept_loaded=_workload(size, args).is_kept_loaded,
    )
    on_gpu = args.device == "cuda"

    def cost_s(number: int, kind: str) -> float:
        found = runs[number].figures(kind)
        return found.wall_s if on_gpu else found.cpu_s

    numbers = {system.engine: number for number, system in reversed(list(enumerate(systems)))}
    standard = numbers["standard"]
    for kind in args.files:
        reference, found = standard, recordings[kind]
        if "pipeline" in numbers and cost_s(standard, kind) > MAX_SLOWDOWN * cost_s(
            numbers["pipeline"], kind
        ):
            reference = numbers["pipeline"]
            print(
                f"{size}, {kind}: standard is slower than the pipeline; ratios are to the pipeline"
            )
        n_windows = len(found.files) if kind == "short" else found.seconds / WINDOW_S
        for number, system in enumerate(systems):
            trims = system.audio_context == "trim"
            audio_positions = found.seconds / n_windows * POSITIONS_PER_S
            max_batch = {"batch": n_windows, "accelerated": n_windows / len(found.files)}
            precision = runs[number].facts["precision"]
            limit_s = n_windows * window_limit_s(
                shape,
                rates,
                precision=precision,
                positions=min(POSITIONS, audio_positions) if trims else POSITIONS,
                n_tokens=found.n_words / n_windows + N_SPECIAL_TOKENS if is_builtin else N_TOKENS,
                batch=min(
                    runs[number].facts["batch_size"], max(1, int(max_batch.get(system.engine, 1)))
                ),
            )
            figures = runs[number].figures(kind)
            yield Line(
                size=size,
                files=kind,
                audio_context=system.audio_context,
                engine=system.engine,
                precision=precision,
                device=runs[number].facts["device"],
                seconds_per_file=cost_s(number, kind) / len(found.files),
                ratio_to_standard=cost_s(reference, kind) / cost_s(number, kind),
                peak_rss_bytes=runs[number].peak_rss_bytes,
                rss_ratio_to_standard=runs[number].peak_rss_bytes / runs[standard].peak_rss_bytes,
                words_agreed=word_agreement(runs[standard].figures(kind).words, figures.words)
                if is_builtin
                else None,
                multiple_of_limit=cost_s(number, kind) / limit_s,
                load_s=runs[number].facts["load_s"],
                stages=figures.stages,
                is_default=system.precision == "auto",
            )  # fmt: skip


def show(lines: list[Line], console: Console) -> None:
    """Print the table."""
    table = Table("size", "files", "context", "engine", "precision")
    for name in ("s/file", "x standard", "MB", "x memory", "words", "x limit", "load", *STAGES):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.size, line.files, line.audio_context, line.engine, line.precision,
            f"{line.seconds_per_file:.3f}", f"{line.ratio_to_standard:.2f}",
            f"{line.peak_rss_bytes / 1e6:.0f}", f"{line.rss_ratio_to_standard:.2f}",
            "" if line.words_agreed is None else f"{100 * line.words_agreed:.1f} %",
            f"{line.multiple_of_limit:.1f}", f"{line.load_s:.1f}",
            *(f"{line.stages[s]:.2f}" if s in line.stages else "" for s in STAGES),
        )  # fmt: skip
    console.print(table)


def plot(lines: list[Line], path: Path) -> None:
    """Plot the speed of each system relative to standard, by size and kind of file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lines = [line for line in lines if line.is_default]
    groups = list(dict.fromkeys((r.size, r.files) for r in lines))
    names = list(dict.fromkeys((r.engine, r.audio_context) for r in lines))
    figure, axes = plt.subplots(figsize=(2 + 1.6 * len(groups), 4), layout="constrained")
    for place, name in enumerate(names):
        at = [i + 0.8 * place / len(names) for i in range(len(groups))]
        heights = [
            next((r.ratio_to_standard for r in lines
                  if (r.size, r.files) == g and (r.engine, r.audio_context) == name), 0.0)
            for g in groups
        ]  # fmt: skip
        axes.bar(at, heights, width=0.8 / len(names), label=" ".join(name))
    axes.set_xticks([i + 0.4 for i in range(len(groups))], [f"{s}\n{f} files" for s, f in groups])
    axes.set_ylabel("times as fast as standard")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def write(lines: list[Line], args: argparse.Namespace, rates: Rates) -> None:
    """Write bench.json and the plot; rows: default precision only, fewer fields; lines: everything."""
    rows = [{name: asdict(line)[name] for name in ROW_FIELDS} for line in lines if line.is_default]
    document = {
        "threads": args.threads,
        "rounds": args.rounds,
        "products_per_s": rates.products,
        "bytes_read_per_s": rates.bytes_read,
        "rows": rows,
        "lines": [asdict(line) for line in lines],
    }
    (OUT / "bench.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    plot(lines, OUT / "bench.png")


def _workload(size: str, args: argparse.Namespace) -> Workload:
    return GPU_WORKLOAD if args.device == "cuda" and size != "builtin" else WORKLOADS[size]


def _arguments() -> argparse.Namespace:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description="Time the engines and transformers' pipeline.")
    parser.add_argument("--quick", action="store_true", help="Measure builtin and tiny only.")
    parser.add_argument("--sizes", nargs="+", choices=["builtin", *SHAPES])
    parser.add_argument("--files", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument(
        "--engines", nargs="+", choices=["pipeline", "accelerated", "batch"],
        help="Engines to measure in addition to standard.",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short-files", type=int, help="Number of short files; default: by size.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device)
    parser.add_argument(
        "--batch-size", type=int, help="Windows per forward pass; default: automatic."
    )
    args = parser.parse_args()
    if args.engines:
        args.engines.append("standard")
    return args


def main() -> None:
    """Measure all sizes, print the table and write the results."""
    args = _arguments()
    sizes = args.sizes or (["builtin", "tiny"] if args.quick else ["builtin", *SHAPES])
    console = Console(width=190)
    if "builtin" in sizes and not BUILTIN.is_dir():
        console.print("builtin model missing; skipping its rows")
        sizes.remove("builtin")
    torch.set_num_threads(args.threads)
    OUT.mkdir(parents=True, exist_ok=True)
    rates = measure_rates(args.device)
    lines: list[Line] = []
    for size in sizes:
        load = _workload(size, args)
        recordings = make_recordings(
            OUT / "recordings", n_short=args.short_files or load.n_short, long_s=load.long_s
        )
        lines += measure(size, args, rates, recordings)
        show([line for line in lines if line.size == size], console)
        write(lines, args, rates)  # after each size, so that an interrupted run leaves results
    console.print(f"{OUT / 'bench.json'}, {OUT / 'bench.png'}")


if __name__ == "__main__":
    main()
