"""Synthetic speech on disk: mel power with frame labels, in shards, each written by one process."""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

from training.espeak import Espeak, EspeakVoiceError
from training.flite import Flite
from training.grammar import training_text
from training.mel import FRAME, SAMPLE_RATE_HZ, FloatArray, mel_power
from training.noises import KINDS, non_speech
from training.voices import TRAINED_FLITE, draw_trained_voice, trained_variants

log = logging.getLogger(__name__)

NO_PHONEME = 0
UNKNOWN_PHONEME = 255
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Recording:
    """One spoken text: mel power as float16 log10, shape (2 * frames, 80), and its labels.

    spans: [start, end) of each word in 20 ms frames. phonemes: uint8, shape (frames,).
    """

    text: str
    voice: str
    log_mel: npt.NDArray[np.float16]
    phonemes: npt.NDArray[np.uint8]
    spans: list[Span]


def _log_mel(samples: FloatArray) -> npt.NDArray[np.float16]:
    whole = samples[: len(samples) // FRAME * FRAME]
    return np.log10(np.maximum(mel_power(whole), 1e-10)).astype(np.float16)


class EspeakSource:
    """Random texts by espeak-ng's trained voices at varied rates and pitches."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"espeak {seed}")
        self._espeak = Espeak()
        self._variants = trained_variants()
        self._voice = ""
        self._phoneme_ids: dict[str, int] = {}

    @property
    def phoneme_names(self) -> list[str]:
        """Return espeak's names of the phoneme labels 1, 2, ... of this shard."""
        return list(self._phoneme_ids)

    def record(self) -> Recording | None:
        """Speak one text; return None if the voice failed or the words have no clear times."""
        rng = self._rng
        # Loading a voice takes longer than speaking a sentence, so each voice speaks several.
        if not self._voice or rng.random() < 1 / 6:
            self._voice = draw_trained_voice(rng, self._variants)
        voice, text = self._voice, training_text(rng)
        try:
            speech = self._espeak.speak(
                text,
                voice=voice,
                rate_wpm=int(rng.triangular(100, 270, 165)),
                pitch=rng.randint(10, 90),
                pitch_range=rng.randint(5, 95),
                word_gap=rng.choice([0, 0, 0, 0, 1, 3]),
            )
        except EspeakVoiceError:
            self._voice = ""
            return None
        samples = soxr.resample(
            speech.samples.astype(np.float32) / 32768, speech.rate_hz, SAMPLE_RATE_HZ, quality="MQ"
        )
        if len(samples) < 10 * FRAME:
            return None
        log_mel = _log_mel(samples)
        frames = len(log_mel) // 2
        per_frame = speech.rate_hz * FRAME / SAMPLE_RATE_HZ
        phonemes = np.zeros(frames, np.uint8)
        ends = [start for start, _ in speech.phonemes[1:]] + [len(speech.samples)]
        for (start, name), end in zip(speech.phonemes, ends, strict=True):
            label = NO_PHONEME
            if name and not name.startswith("_"):
                label = self._phoneme_ids.setdefault(name, len(self._phoneme_ids) + 1)
            phonemes[int(start / per_frame) : int(end / per_frame + 0.5)] = label
        spans = _spans_from_starts(text, speech.words, per_frame, np.flatnonzero(phonemes))
        if spans is None:
            return None
        return Recording(text, voice, log_mel, phonemes, spans)


def _spans_from_starts(
    text: str,
    words: list[tuple[int, int]],
    per_frame: float,
    voiced: npt.NDArray[np.intp],
) -> list[Span] | None:
    """Turn espeak's word starts into spans; each word ends where the next one starts."""
    if not len(voiced):
        return None
    start_at: dict[int, int] = {}
    for sample, position in words:
        start_at.setdefault(position, int(sample / per_frame))
    starts: list[int] = []
    position = 0
    for word in text.split():
        starts.append(start_at.get(position, starts[-1] if starts else int(voiced[0])))
        position += len(word) + 1
    starts[0] = max(starts[0], int(voiced[0]))
    ends = [*starts[1:], int(voiced[-1]) + 1]
    if any(end <= start for start, end in zip(starts, ends, strict=True)):
        return None
    return list(zip(starts, ends, strict=True))


class FliteSource:
    """Random texts by flite's trained voices, with pitch, length and vocal tract changed."""

    phoneme_names: tuple[str, ...] = ()

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"flite {seed}")
        self._flite = Flite()

    def record(self) -> Recording | None:
        """Speak one text; return None if the words have no clear times."""
        rng = self._rng
        text, voice = training_text(rng), rng.choice(TRAINED_FLITE)
        # Resampling by `tract` moves the formants like a longer or shorter vocal tract.
        tract = rng.choice([1.0, rng.uniform(0.80, 1.25), rng.uniform(0.80, 1.25)])
        speech = self._flite.speak(
            text,
            voice=voice,
            stretch=rng.triangular(0.72, 1.35, 0.95) * tract,
            pitch_hz=rng.uniform(75, 210) / tract,
        )
        samples = soxr.resample(
            speech.samples.astype(np.float32) / 32768,
            speech.rate_hz * tract,
            SAMPLE_RATE_HZ,
            quality="MQ",
        )
        if len(speech.word_spans_s) != len(text.split()) or len(samples) < 10 * FRAME:
            return None
        log_mel = _log_mel(samples)
        frames = len(log_mel) // 2
        per_s = SAMPLE_RATE_HZ / FRAME / tract
        spans = [
            (min(int(start * per_s), frames - 2), min(int(end * per_s) + 1, frames))
            for start, end in speech.word_spans_s
        ]
        phonemes = np.full(frames, UNKNOWN_PHONEME, np.uint8)
        phonemes[: spans[0][0]] = NO_PHONEME
        phonemes[spans[-1][1] :] = NO_PHONEME
        return Recording(text, f"flite {voice}", log_mel, phonemes, spans)


class NoiseSource:
    """Clips without speech, labeled with the empty text."""

    phoneme_names: tuple[str, ...] = ()

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def record(self) -> Recording:
        """Draw one clip of 2 to 12 seconds."""
        kind = KINDS[self._rng.integers(1, len(KINDS))]
        log_mel = _log_mel(non_speech(self._rng, kind, self._rng.uniform(2, 12)))
        return Recording("", kind, log_mel, np.zeros(len(log_mel) // 2, np.uint8), [])


class Source(Protocol):
    """A source of recordings; `phoneme_names` grows with them."""

    @property
    def phoneme_names(self) -> Sequence[str]:
        """Return the names of the phoneme labels 1, 2, ... so far."""

    def record(self) -> Recording | None:
        """Return another recording, or None if it could not be labeled."""


SOURCES: dict[str, Callable[[int], Source]] = {
    "espeak": EspeakSource,
    "flite": FliteSource,
    "noise": NoiseSource,
}


def make_shard(folder: Path, kind: str, seed: int, *, hours: float, limit_s: float) -> None:
    """Write a shard of at least one recording, up to `hours` of audio or `limit_s` of time."""
    target = folder / f"{kind}-{seed:03d}"
    if target.with_suffix(".json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    source, started, seconds, dropped = SOURCES[kind](seed), time.monotonic(), 0.0, 0
    recordings: list[Recording] = []
    while seconds < hours * 3600 and (not recordings or time.monotonic() - started < limit_s):
        recording = source.record()
        if recording is None:
            dropped += 1
            continue
        recordings.append(recording)
        seconds += len(recording.phonemes) * FRAME / SAMPLE_RATE_HZ
    np.save(target.with_suffix(".mel.npy"), np.concatenate([r.log_mel for r in recordings]))
    np.save(target.with_suffix(".phonemes.npy"), np.concatenate([r.phonemes for r in recordings]))
    index = {
        "phoneme_names": list(source.phoneme_names),
        "dropped": dropped,
        "hours": seconds / 3600,
        "made_in_s": time.monotonic() - started,
        "recordings": [[r.text, r.voice, len(r.phonemes), r.spans] for r in recordings],
    }
    partial = target.with_suffix(".json.part")
    partial.write_text(json.dumps(index))
    partial.rename(target.with_suffix(".json"))
    print(
        f"{target.name}: {len(recordings)} recordings, {seconds / 3600:.2f} h, "
        f"{dropped} dropped, {time.monotonic() - started:.0f} s",
        flush=True,
    )


class Corpus:
    """All finished shards of a folder, in memory, grouped by source and voice."""

    def __init__(self, folder: Path) -> None:
        self.recordings: dict[str, list[Recording]] = {kind: [] for kind in SOURCES}
        self.by_voice: dict[str, list[Recording]] = {}
        self.phoneme_ids: dict[str, int] = {}
        for path in sorted(folder.glob("*.json")):
            self._load(path)

    def _load(self, path: Path) -> None:
        index = json.loads(path.read_text())
        kind = path.stem.split("-")[0]
        mel = np.load(path.with_suffix(".mel.npy"))
        table = np.arange(256, dtype=np.uint8)
        for local, name in enumerate(index["phoneme_names"], start=1):
            table[local] = self.phoneme_ids.setdefault(name, len(self.phoneme_ids) + 1)
        phonemes = table[np.load(path.with_suffix(".phonemes.npy"))]
        at = 0
        for text, voice, frames, spans in index["recordings"]:
            recording = Recording(
                text,
                voice,
                mel[2 * at : 2 * (at + frames)],
                phonemes[at : at + frames],
                [(start, end) for start, end in spans],
            )
            self.recordings[kind].append(recording)
            self.by_voice.setdefault(voice, []).append(recording)
            at += frames

    def hours(self, kind: str) -> float:
        """Return the hours of audio from a source."""
        frames = sum(len(recording.phonemes) for recording in self.recordings[kind])
        return frames * FRAME / SAMPLE_RATE_HZ / 3600


def main() -> None:
    """Write one shard; training.make_model runs several of these in parallel."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=SOURCES)
    parser.add_argument("seed", type=int)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--limit-s", type=float, default=1e9)
    parser.add_argument("--out", type=Path, default=Path("training/out/corpus"))
    args = parser.parse_args()
    make_shard(args.out, args.kind, args.seed, hours=args.hours, limit_s=args.limit_s)


if __name__ == "__main__":
    main()
