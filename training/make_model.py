"""Builds the builtin model in one command: generate, train, export, evaluate, samples.

    python -m training.make_model

Each stage runs in its own process. An interrupted run resumes: existing shards are kept and training
continues from its checkpoint. Delete training/out to start from scratch.
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
    """Wait for all processes; if one fails, exit with the first failure's code."""
    codes = [process.wait() for process in processes]
    for code in codes:
        if code:
            sys.exit(code)


def generate(*, espeak_hours: float, flite_hours: float, seed: int) -> None:
    """Write the corpus in shards, as many in parallel as there are cores."""
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
    """Build the builtin model from scratch."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--hours", type=float, default=HOURS, help="Hours of augmented audio to train on."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--espeak-hours", type=float, default=24.0)
    parser.add_argument("--flite-hours", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--nice", type=int, default=0)
    args = parser.parse_args()
    if not (OUT / "tokenizer" / "tokenizer.json").exists():
        finish([run("tokenizer", OUT / "tokenizer")])
    generate(espeak_hours=args.espeak_hours, flite_hours=args.flite_hours, seed=args.seed)
    training = ["--hours", args.hours, "--seed", args.seed, "--threads", args.threads]
    finish([run("train", *training, nice=args.nice)])
    finish([run("plot")])
    finish([run("export")])
    finish([run("evaluate", "--threads", args.threads)])
    finish([run("samples")])


if __name__ == "__main__":
    main()
