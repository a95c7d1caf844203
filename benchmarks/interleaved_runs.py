"""Runs systems in turn, round after round, so that other load on the machine affects all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thoth_watch.bootstrap import TargetProcess
from thoth_watch.bootstrap.engine_benchmark import BenchmarkTarget
from thoth_watch.domain.engine_comparison import BenchmarkPass, BenchmarkSummary


@dataclass(slots=True)
class SystemRuns:
    """The measurements of one system."""

    passes: dict[str, list[BenchmarkPass]] = field(default_factory=dict)  # by kind of file
    facts: dict[str, Any] = field(default_factory=dict)  # load_s, precision, device, on_gpu
    peak_rss_bytes: int = 0

    def figures(self, kind: str) -> BenchmarkSummary:
        """Return the medians for a kind of file."""
        return BenchmarkSummary.of(self.passes[kind])

    def run_pass(self, process: TargetProcess, files: dict[str, list[Path]]) -> None:
        """Run one turn: a pass over each kind of file."""
        for kind, paths in files.items():
            self.passes.setdefault(kind, []).append(process.run(paths))

    def close(self, process: TargetProcess) -> None:
        """End the process; store its facts and its peak memory."""
        self.facts = process.facts
        self.peak_rss_bytes = max(self.peak_rss_bytes, process.close())


def run_interleaved(
    targets: Sequence[Callable[[], BenchmarkTarget]],
    files: dict[str, list[Path]],
    *,
    rounds: int,
    threads: int,
    is_kept_loaded: bool,
) -> list[SystemRuns]:
    """Run each target over each kind of file and return the measurements in the order of targets.

    is_kept_loaded: all targets are loaded once and warmed up on one file; otherwise each is loaded for
    each of its turns, so that only one is in memory at a time.
    """
    runs = [SystemRuns() for _ in targets]
    if is_kept_loaded:
        _run_all_loaded(targets, files, runs, rounds=rounds, threads=threads)
    else:
        for _ in range(rounds):
            for target, run in zip(targets, runs, strict=True):
                process = TargetProcess(target, threads=threads)
                run.run_pass(process, files)
                run.close(process)
    return runs


def _run_all_loaded(
    targets: Sequence[Callable[[], BenchmarkTarget]],
    files: dict[str, list[Path]],
    runs: Sequence[SystemRuns],
    *,
    rounds: int,
    threads: int,
) -> None:
    running: list[TargetProcess] = []
    try:
        for target in targets:
            running.append(TargetProcess(target, threads=threads))
            running[-1].run(next(iter(files.values()))[:1])
        for _ in range(rounds):
            for run, process in zip(runs, running, strict=True):
                run.run_pass(process, files)
    finally:
        for run, process in zip(runs, running, strict=False):
            run.close(process)
