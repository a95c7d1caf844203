"""One command that makes the builtin model: generate, train, export, evaluate, samples.

    python -m training.make_model

Each stage runs in a process of its own and is skipped where its result is already there; a killed
run goes on where it stood. Delete training/out to start from nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from training.train import HOURS

OUT = Path("training/out")


def run(module: str, *arguments: object, nice: int = 0) -> subprocess.Popen[bytes]:
    """Start `python -m training.<module>` with one numeric thread per process."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    return subprocess.Popen(["nice", "-n", str(nice), *command], env=environment)


def finish(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all; exit with the first failure's code."""
    codes = [process.wait() for process in processes]
    for code in codes:
        if code:
            sys.exit(code)


def generate(*, espeak_hours: float, flite_hours: float, seed: int) -> None:
    """Make the corpus in shards, as many at once as there are cores."""
    jobs = [("noise", seed, 0.4)]
    jobs += [("espeak", seed + i, espeak_hours / 8) for i in range(8)]
    jobs += [("flite", seed + i, flite_hours / 5) for i in range(5)]
    cores = os.cpu_count() or 1
    for start in range(0, len(jobs), cores):
        finish(
            [
                run("corpus", kind, number, "--hours", hours, "--out", OUT / "corpus")
                for kind, number, hours in jobs[start : start + cores]
            ]
        )


def main() -> None:
    """Make the builtin model from nothing."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--hours", type=float, default=HOURS, help="of augmented audio to be heard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--espeak-hours", type=float, default=24.0)
    parser.add_argument("--flite-hours", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--nice", type=int, default=0)
    given = parser.parse_args()
    if not (OUT / "tokenizer" / "tokenizer.json").exists():
        finish([run("tokenizer", OUT / "tokenizer")])
    generate(espeak_hours=given.espeak_hours, flite_hours=given.flite_hours, seed=given.seed)
    training = ["--hours", given.hours, "--seed", given.seed, "--threads", given.threads]
    finish([run("train", *training, nice=given.nice)])
    finish([run("plot")])
    finish([run("export")])
    finish([run("evaluate", "--threads", given.threads)])
    finish([run("samples")])


if __name__ == "__main__":
    main()
