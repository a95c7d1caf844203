"""Runs systems in turn, round after round, so that what disturbs the machine disturbs all of them."""

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
    """What was measured of one system."""

    passes: dict[str, list[BenchmarkPass]] = field(default_factory=dict)  # by kind of file
    facts: dict[str, Any] = field(default_factory=dict)  # load_s, precision, device, on_gpu
    peak_rss_bytes: int = 0

    def figures(self, kind: str) -> BenchmarkSummary:
        """The medians of a kind of file."""
        return BenchmarkSummary.of(self.passes[kind])

    def run_pass(self, timed: TargetProcess, files: dict[str, list[Path]]) -> None:
        """One turn: a pass over each kind of files."""
        for kind, paths in files.items():
            self.passes.setdefault(kind, []).append(timed.run(paths))

    def close(self, timed: TargetProcess) -> None:
        """End its process."""
        self.facts = timed.facts
        self.peak_rss_bytes = max(self.peak_rss_bytes, timed.close())


def run_interleaved(
    ways: Sequence[Callable[[], BenchmarkTarget]],
    files: dict[str, list[Path]],
    *,
    rounds: int,
    threads: int,
    is_kept_loaded: bool,
) -> list[SystemRuns]:
    """Each way's passes over each kind of files.

    stay: all are loaded once, side by side, and warmed up on one file; else each is loaded for each
    of its turns, and one is in memory at a time.
    """
    taken = [SystemRuns() for _ in ways]
    if is_kept_loaded:
        _run_side_by_side(ways, files, taken, rounds=rounds, threads=threads)
    else:
        for _ in range(rounds):
            for way, one in zip(ways, taken, strict=True):
                timed = TargetProcess(way, threads=threads)
                one.run_pass(timed, files)
                one.close(timed)
    return taken


def _run_side_by_side(
    ways: Sequence[Callable[[], BenchmarkTarget]],
    files: dict[str, list[Path]],
    taken: Sequence[SystemRuns],
    *,
    rounds: int,
    threads: int,
) -> None:
    running: list[TargetProcess] = []
    try:
        for way in ways:
            running.append(TargetProcess(way, threads=threads))
            running[-1].run(next(iter(files.values()))[:1])
        for _ in range(rounds):
            for one, timed in zip(taken, running, strict=True):
                one.run_pass(timed, files)
    finally:
        for one, timed in zip(taken, running, strict=False):
            one.close(timed)
