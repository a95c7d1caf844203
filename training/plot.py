"""Plots the losses of training/out/history.json to training/out/loss.png."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def plot(history: Path, target: Path) -> None:
    """Plot losses (top) and accuracies (bottom) over minutes of training."""
    rows = json.loads(history.read_text())
    figure, (losses, accuracies) = plt.subplots(2, 1, sharex=True, figsize=(9, 7))
    for axis, names in (
        (losses, ("token", "word", "phoneme", "half", "look_back", "look_ahead")),
        (accuracies, ("text_accuracy", "word_accuracy")),
    ):
        for name in names:
            points = [(row["minutes"], row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name)
        axis.legend(loc="best")
        axis.grid(alpha=0.3)
    losses.set_ylabel("loss")
    accuracies.set_ylabel("accuracy on augmented training windows")
    accuracies.set_xlabel("minutes of training")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    """Plot the history of a training folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("training/out"))
    args = parser.parse_args()
    plot(args.out / "history.json", args.out / "loss.png")


if __name__ == "__main__":
    main()
