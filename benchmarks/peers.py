"""Compares the batch engine with other programs on the same weights and files.

    python -m benchmarks.peers [--quick]

Needs an environment with the other programs; `make bench-peers` creates it. Reports the CPU seconds of
each process and its children; one thread each unless --threads is given. The weights are random and
seeded, and every window has the same number of tokens: the text is meaningless, but the number of
words shows equal work. Writes benchmarks/out/peers.json and prints the table of docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.interleaved_runs import SystemRuns, run_interleaved
from benchmarks.peer_systems import CTranslate2AcrossFiles, FasterWhisper, OpenAIWhisper, WhisperCpp
from benchmarks.systems import System
from thoth_watch.bootstrap.engine_benchmark import BenchmarkTarget

OUT = Path("benchmarks/out")
SIZES = ("tiny", "base", "small", "large-v3-turbo")
N_TOKENS = 48
OURS = "thoth_watch"
ROW_FIELDS = (
    "size",
    "files",
    "audio_context",
    "system",
    "cpu_s_per_file",
    "peak_rss_bytes",
    "ours_is_faster_by",
)

Builder = Callable[[], BenchmarkTarget]


@dataclass(frozen=True, slots=True)
class Workload:
    """The amount of audio for a size; large models get less because they are slow."""

    n_short: int
    long_s: float
    is_kept_loaded: bool = True


WORKLOADS = {
    "tiny": Workload(16, 120.0),
    "base": Workload(16, 120.0),
    "small": Workload(8, 60.0),
    "large-v3-turbo": Workload(2, 45.0, is_kept_loaded=False),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    size: str
    files: str
    audio_context: str
    system: str
    cpu_s_per_file: float
    wall_s_per_file: float
    files_per_min: float  # per CPU minute
    peak_rss_bytes: int
    words_per_file: float
    ours_is_faster_by: float  # its CPU seconds over those of our batch engine, same audio context


def systems_of(size: str, *, threads: int) -> dict[tuple[str, str], Builder]:
    """Return the builders of the compared systems at a size, by name and audio context."""
    from benchmarks.checkpoints import make_checkpoint
    from benchmarks.conversions import convert

    model = str(make_checkpoint(OUT, size, n_tokens=N_TOKENS))
    converted = convert(Path(model), OUT / "peers" / size)
    options: dict[str, Any] = {"n_tokens": N_TOKENS, "threads": threads}
    faster = partial(FasterWhisper, str(converted / "ct2"))
    across_files = partial(CTranslate2AcrossFiles, str(converted / "ct2"), model)
    q8_0 = partial(WhisperCpp, str(converted / "ggml-q8_0.bin"), "q8_0")
    return {
        (f"{OURS} batch", "full"): System("batch", model).target("cpu"),
        (f"{OURS} batch", "trim"): System("batch", model, "trim").target("cpu"),
        (f"{OURS} batch int8", "full"): System("batch", model, precision="int8").target("cpu"),
        (f"{OURS} accelerated", "full"): System("accelerated", model).target("cpu"),
        (f"{OURS} standard", "full"): System("standard", model).target("cpu"),
        ("transformers pipeline", "full"): System("pipeline", model, n_tokens=N_TOKENS).target("cpu"),
        ("faster-whisper float32", "full"): partial(faster, "float32", **options),
        ("faster-whisper int8", "full"): partial(faster, "int8", **options),
        ("faster-whisper int8 batched", "full"): partial(faster, "int8", batched=True, **options),
        ("CTranslate2 int8 across files", "full"): partial(across_files, "int8", **options),
        ("openai-whisper", "full"): partial(
            OpenAIWhisper, str(converted / "openai.pt"), n_tokens=N_TOKENS
        ),
        ("whisper.cpp f16", "full"): partial(
            WhisperCpp, str(converted / "ggml-f16.bin"), "float16", **options
        ),
        ("whisper.cpp q8_0", "full"): partial(q8_0, **options),
        ("whisper.cpp q8_0", "trim"): partial(q8_0, trims=True, **options),
    }  # fmt: skip


def measure(size: str, args: argparse.Namespace) -> list[Line]:
    """Measure all systems at one size and return a line per kind of file and system."""
    from benchmarks.recordings import make_recordings

    load = WORKLOADS[size]
    recordings = make_recordings(
        OUT / "recordings", n_short=args.short_files or load.n_short, long_s=load.long_s
    )
    systems = systems_of(size, threads=args.threads)
    if args.systems:
        prefixes = (f"{OURS} batch", *args.systems)
        systems = {key: build for key, build in systems.items() if key[0].startswith(prefixes)}
    runs = dict(
        zip(
            systems,
            run_interleaved(
                list(systems.values()),
                {kind: recordings[kind].files for kind in args.files},
                rounds=args.rounds,
                threads=args.threads,
                is_kept_loaded=load.is_kept_loaded,
            ),
            strict=True,
        )
    )
    return [
        _line(size, kind, key, runs, n_files=len(recordings[kind].files))
        for kind in args.files
        for key in systems
    ]


def _line(
    size: str,
    kind: str,
    key: tuple[str, str],
    runs: dict[tuple[str, str], SystemRuns],
    *,
    n_files: int,
) -> Line:
    name, context = key
    figures, ours = (runs[k].figures(kind) for k in (key, (f"{OURS} batch", context)))
    return Line(
        size=size,
        files=kind,
        audio_context=context,
        system=name,
        cpu_s_per_file=figures.cpu_s / n_files,
        wall_s_per_file=figures.wall_s / n_files,
        files_per_min=60 * n_files / figures.cpu_s,
        peak_rss_bytes=runs[key].peak_rss_bytes,
        words_per_file=len(figures.words) / n_files,
        ours_is_faster_by=figures.cpu_s / ours.cpu_s,
    )


def table(lines: list[Line]) -> str:
    """Format the table of docs/speed.md in Markdown."""
    head = (
        "size",
        "files",
        "context",
        "system",
        "cpu s/file",
        "files/min",
        "MB",
        "CPU time relative to our batch engine",
    )
    rows = [
        (
            line.size, line.files, line.audio_context, line.system,
            f"{line.cpu_s_per_file:.3f}", f"{line.files_per_min:.0f}",
            f"{line.peak_rss_bytes / 1e6:.0f}", f"{line.ours_is_faster_by:.2f}",
        )
        for line in lines
    ]  # fmt: skip
    rule = ["---"] * 4 + ["---:"] * 4
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def main() -> None:
    """Measure all sizes, write the results and print the table."""
    parser = argparse.ArgumentParser(description="Compare the batch engine with other programs.")
    parser.add_argument("--quick", action="store_true", help="Measure tiny only.")
    parser.add_argument("--sizes", nargs="+", choices=SIZES)
    parser.add_argument("--files", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument(
        "--systems", nargs="+", help="Measure only systems whose names start with one of these."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short-files", type=int, help="Number of short files; default: by size.")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    lines: list[Line] = []
    for size in args.sizes or (["tiny"] if args.quick else SIZES):
        lines += measure(size, args)
        document = {
            "threads": args.threads,
            "rounds": args.rounds,
            "rows": [{name: asdict(line)[name] for name in ROW_FIELDS} for line in lines],
            "lines": [asdict(line) for line in lines],
        }
        text = json.dumps(document, indent=1) + "\n"
        (OUT / "peers.json").write_text(text, encoding="utf-8")
    print(table(lines))


if __name__ == "__main__":
    main()
