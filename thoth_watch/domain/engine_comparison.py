"""Timings of several engines on the same files, and their comparison."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

STAGES = (
    "decode",
    "features",
    "encode",
    "generate",
    "write",
)  # of a pass; loading is not part of it


@dataclass(frozen=True, slots=True)
class BenchmarkPass:
    """The figures of one pass of one engine over all files."""

    cpu_s: float  # of the process and its child processes
    wall_s: float
    stages: dict[str, float]  # wall seconds; empty if the engine reports none
    texts: list[str]  # in the order of the files


@dataclass(frozen=True, slots=True)
class BenchmarkSummary:
    """Medians over several passes of one engine, and the words of the first pass."""

    cpu_s: float
    wall_s: float
    stages: dict[str, float]
    words: list[str]

    @classmethod
    def of(cls, passes: Sequence[BenchmarkPass]) -> BenchmarkSummary:
        """Return the medians of one or more passes."""
        return cls(
            cpu_s=statistics.median(p.cpu_s for p in passes),
            wall_s=statistics.median(p.wall_s for p in passes),
            stages={
                name: statistics.median(p.stages[name] for p in passes) for name in passes[0].stages
            },
            words=" ".join(passes[0].texts).split(),
        )


def word_agreement(words: Sequence[str], others: Sequence[str]) -> float:
    """Return the share of words that two texts have in common, in order; 1 for two empty texts."""
    if not words and not others:
        return 1.0
    return _longest_common_subsequence(words, others) / max(len(words), len(others))


def _longest_common_subsequence(words: Sequence[str], others: Sequence[str]) -> int:
    """Return the length of the longest common subsequence; the bits of an integer are a table row.

    Crochemore et al. 2001, "A fast and practical bit-vector algorithm for the longest common
    subsequence problem".
    """
    positions: dict[str, int] = {}
    for position, word in enumerate(words):
        positions[word] = positions.get(word, 0) | 1 << position
    row = whole = (1 << len(words)) - 1
    for word in others:
        matches = row & positions.get(word, 0)
        row = (row + matches | row - matches) & whole
    return len(words) - row.bit_count()
