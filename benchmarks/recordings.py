"""Recordings for benchmarks: ten-word utterances with espeak-ng, otherwise the demo samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE_HZ = 16_000
GAP_S = 0.4
SAMPLES = Path("thoth_watch/builtin/samples")

Spoken = tuple[np.ndarray, str]  # float32 samples at 16 kHz, and the text


@dataclass(frozen=True, slots=True)
class Recordings:
    """Files of one kind with the text of each."""

    files: list[Path]
    texts: list[str]
    seconds: float

    @property
    def n_words(self) -> int:
        """Number of words in all files."""
        return sum(len(text.split()) for text in self.texts)


def make_recordings(folder: Path, *, n_short: int, long_s: float) -> dict[str, Recordings]:
    """Write `short` (2 to 10 s each) and `long` (one file of about `long_s`) as 16 kHz WAV."""
    folder.mkdir(parents=True, exist_ok=True)
    spoken = _speak(n_short) or list(islice(cycle(_samples()), n_short))
    files = []
    for number, (samples, _) in enumerate(spoken):
        files.append(folder / f"short-{number:03d}.wav")
        soundfile.write(files[-1], samples, RATE_HZ, subtype="PCM_16")
    gap = np.zeros(int(GAP_S * RATE_HZ), np.float32)
    parts: list[np.ndarray] = []
    texts, total = [], 0.0
    for samples, text in cycle(spoken):
        if parts and total + len(samples) / RATE_HZ > long_s:
            break
        parts += [samples, gap]
        texts.append(text)
        total += (len(samples) + len(gap)) / RATE_HZ
    whole = folder / f"long-{long_s:.0f}.wav"
    soundfile.write(whole, np.concatenate(parts), RATE_HZ, subtype="PCM_16")
    seconds = sum(len(samples) for samples, _ in spoken) / RATE_HZ
    return {
        "short": Recordings(files, [text for _, text in spoken], seconds),
        "long": Recordings([whole], [" ".join(texts)], total),
    }


def _speak(count: int) -> list[Spoken]:
    try:
        from training.evaluation_sets import ten_word_items

        return [(item.samples, item.text) for item in ten_word_items(count)]
    except OSError:  # espeak-ng is not installed
        return []


def _samples() -> Iterator[Spoken]:
    for sample in json.loads((SAMPLES / "SAMPLES.json").read_text(encoding="utf-8")):
        try:
            samples, rate_hz = soundfile.read(SAMPLES / sample["file"], dtype="float32")
        except soundfile.LibsndfileError:  # m4a is not supported
            continue
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
        yield soxr.resample(mono, rate_hz, RATE_HZ).astype(np.float32), sample["text"]
