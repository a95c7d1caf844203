"""Evaluation recordings: voices not used in training, noise, real people."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.espeak import Espeak
from training.flite import Flite
from training.grammar import exact_utterance, utterance
from training.mel import SAMPLE_RATE_HZ, FloatArray
from training.noises import KINDS, colored_noise, non_speech
from training.utterances import make_utterances
from training.voices import HELD_OUT_FESTIVAL, HELD_OUT_FLITE, held_out_espeak_voices


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """One recording with its true text: float32 samples, 16 kHz."""

    samples: FloatArray
    text: str
    voice: str


def to_16k(samples: FloatArray, rate_hz: float) -> FloatArray:
    """Resample to 16 kHz mono and scale down to a peak of at most 1."""
    if samples.ndim > 1:
        samples = samples.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ)
    return (samples / max(1.0, float(np.abs(samples).max(initial=0.0)))).astype(np.float32)


def espeak_items(count: int, seed: int = 7) -> list[EvaluationItem]:
    """Speak texts of the training grammar with the held-out espeak voices in turn."""
    rng, espeak, voices = random.Random(f"evaluate {seed}"), Espeak(), held_out_espeak_voices()
    items = []
    for index in range(count):
        voice, text = voices[index % len(voices)], utterance(rng)
        speech = espeak.speak(
            text, voice=voice, rate_wpm=rng.randint(130, 200), pitch=rng.randint(30, 70)
        )
        samples = speech.samples.astype(np.float32) / np.float32(32768)
        items.append(EvaluationItem(to_16k(samples, speech.rate_hz), text, voice))
    return items


def ten_word_items(count: int) -> list[EvaluationItem]:
    """Return the utterances of the test suite (training.utterances), resampled."""
    return [
        EvaluationItem(to_16k(u.samples, u.rate_hz), u.text, u.voice)
        for u in make_utterances(count, words=10, seed=0)
    ]


def in_noise(items: list[EvaluationItem], snr_db: float = 10.0) -> list[EvaluationItem]:
    """Return the recordings band-limited to 8 kHz sampling, with pink noise at snr_db."""
    rng = np.random.default_rng(3)
    noisy = []
    for item in items:
        narrow = soxr.resample(soxr.resample(item.samples, SAMPLE_RATE_HZ, 8000), 8000, 16_000)
        noise = colored_noise(rng, len(narrow), 1.0)
        power = float((narrow**2).mean() / (noise**2).mean())
        mixed = narrow + noise * np.float32(np.sqrt(power * 10 ** (-snr_db / 10)))
        noisy.append(EvaluationItem(to_16k(mixed, SAMPLE_RATE_HZ), item.text, item.voice))
    return noisy


def flite_items(count: int, *, words: int | None = None) -> Iterator[EvaluationItem]:
    """Speak texts with the held-out flite voices in turn."""
    rng, flite = random.Random("flite evaluation"), Flite()
    for index in range(count):
        voice = HELD_OUT_FLITE[index % len(HELD_OUT_FLITE)]
        text = exact_utterance(rng, words) if words else utterance(rng)
        speech = flite.speak(text, voice=voice)
        samples = speech.samples.astype(np.float32) / np.float32(32768)
        yield EvaluationItem(to_16k(samples, speech.rate_hz), text, f"flite {voice}")


def speak_with_festival(text: str, voice: str) -> FloatArray:
    """Synthesize with festival's text2wave, 16 kHz.

    Raises CalledProcessError if festival or the voice is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "speech.wav"
        command = ["text2wave", "-eval", f"({voice})", "-o", str(wave)]
        subprocess.run(command, input=text.encode(), check=True, capture_output=True)
        samples, rate_hz = soundfile.read(wave, dtype="float32")
    return to_16k(samples, rate_hz)


def festival_items(count: int) -> Iterator[EvaluationItem]:
    """Speak texts with the festival voices in turn."""
    rng = random.Random("festival evaluation")
    for index in range(count):
        voice, text = HELD_OUT_FESTIVAL[index % len(HELD_OUT_FESTIVAL)], utterance(rng)
        yield EvaluationItem(speak_with_festival(text, voice), text, f"festival {voice}")


def placed_items(items: list[EvaluationItem]) -> list[tuple[EvaluationItem, float, float]]:
    """Return utterances after up to five seconds of silence, with the start and end of speech in s.

    Speech starts and ends with the first and last 20 ms frame within 35 dB of the loudest.
    """
    rng = np.random.default_rng(4)
    frame = SAMPLE_RATE_HZ // 50
    placed = []
    for item in items:
        frames = item.samples[: len(item.samples) // frame * frame].reshape(-1, frame)
        energy = (frames**2).mean(axis=1)
        loud = np.flatnonzero(energy > energy.max() * 10**-3.5)
        lead = int(rng.uniform(0, 5) * SAMPLE_RATE_HZ)
        samples = np.concatenate([np.zeros(lead, np.float32), item.samples])
        start, end = loud[0] * frame + lead, (loud[-1] + 1) * frame + lead
        moved = EvaluationItem(samples, item.text, item.voice)
        placed.append((moved, start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ))
    return placed


def long_item(seconds: float, seed: int) -> EvaluationItem:
    """Join held-out espeak voices, 0.3 to 1.5 s apart, to one recording of at least `seconds`."""
    rng = np.random.default_rng(seed)
    parts, texts, total = [], [], 0.0
    for item in espeak_items(int(seconds), seed=100 + seed):
        gap = np.zeros(int(rng.uniform(0.3, 1.5) * SAMPLE_RATE_HZ), np.float32)
        parts += [item.samples, gap]
        texts.append(item.text)
        total += (len(item.samples) + len(gap)) / SAMPLE_RATE_HZ
        if total >= seconds:
            break
    return EvaluationItem(np.concatenate(parts), " ".join(texts), f"long {seed}")


def people_items(folder: Path, *, every: int = 1) -> list[EvaluationItem]:
    """Read recordings of real people: digits and `one two three` (evaluation only)."""
    items = []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        transcript = entry.get("transcript", "").lower()
        name = entry["file"]
        if not (name.startswith("digits/") or transcript == "one two three"):
            continue
        samples, rate_hz = soundfile.read(folder / name, dtype="float32")
        items.append(EvaluationItem(to_16k(samples, rate_hz), transcript, name))
    return items[::every]


def non_speech_items(count: int) -> list[EvaluationItem]:
    """Return silence, noise, hum, tones, chirps and clicks of 2 to 12 s; the true text is empty."""
    rng = np.random.default_rng(12345)
    return [
        EvaluationItem(
            non_speech(rng, KINDS[index % len(KINDS)], rng.uniform(2, 12)), "", KINDS[index % 6]
        )
        for index in range(count)
    ]
