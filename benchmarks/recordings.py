"""Recordings to measure on: ten-word utterances where espeak-ng is, else noise in bursts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
LONG_S = 120.0
GAP_S = 0.4


@dataclass(frozen=True, slots=True)
class Recordings:
    """Files of one kind, and what is said in each (empty where nothing is)."""

    files: list[Path]
    texts: list[str]
    seconds: float


def make_recordings(folder: Path, *, n_short: int) -> dict[str, Recordings]:
    """Write `short` (3 to 10 s each) and `long` (two minutes) as 16 kHz wav; seeded."""
    folder.mkdir(parents=True, exist_ok=True)
    spoken = _speak(n_short) or _make_noise(n_short)
    files = []
    for number, (samples, _) in enumerate(spoken):
        files.append(folder / f"short-{number:03d}.wav")
        soundfile.write(files[-1], samples, RATE_HZ, subtype="PCM_16")
    gap = np.zeros(int(GAP_S * RATE_HZ), np.float32)
    parts, texts, total = [], [], 0.0
    for samples, text in spoken * 40:
        if total + len(samples) / RATE_HZ > LONG_S:
            break
        parts += [samples, gap]
        texts.append(text)
        total += (len(samples) + len(gap)) / RATE_HZ
    whole = folder / "long.wav"
    soundfile.write(whole, np.concatenate(parts), RATE_HZ, subtype="PCM_16")
    seconds = sum(len(samples) for samples, _ in spoken) / RATE_HZ
    return {
        "short": Recordings(files, [text for _, text in spoken], seconds),
        "long": Recordings([whole], [" ".join(texts)], total),
    }


def _speak(count: int) -> list[tuple[np.ndarray, str]]:
    try:
        from training.evaluation_sets import ten_word_items

        return [(item.samples, item.text) for item in ten_word_items(count)]
    except OSError:
        return []


def _make_noise(count: int) -> list[tuple[np.ndarray, str]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        n_samples = int(rng.uniform(3, 10) * RATE_HZ)
        loudness = np.repeat(rng.uniform(0, 0.3, n_samples // 3200 + 1), 3200)[:n_samples]
        made.append(((rng.standard_normal(n_samples) * loudness).astype(np.float32), ""))
    return made
