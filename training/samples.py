"""Makes the demo recordings: fixed sentences by held-out voices that the model transcribes correctly.

Each sentence is tried with the held-out voices in turn. The first one that transformers and the
program's own engines, in all precisions, transcribe without an error becomes a sample. A sentence
without such a voice is skipped and printed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from thoth_watch import TranscriptionEngineConfig, WhisperTranscriptionEngine, load_engine
from training.espeak import Espeak
from training.evaluate import ModelTranscriber, count_errors
from training.evaluation_sets import to_16k
from training.export import MODEL_FOLDER
from training.flite import Flite
from training.grammar import sentence
from training.mel import SAMPLE_RATE_HZ, FloatArray
from training.voices import HELD_OUT_FLITE, held_out_espeak_voices

SAMPLES_FOLDER = Path("thoth_watch/builtin/samples")
SENTENCES = (
    "please call Anna on Monday morning",
    "the meeting is on Friday at half past nine",
    "my number is four seven one two zero nine three",
    "remember the appointment with David tomorrow",
    "hello Maria the interview is on Thursday afternoon",
    "the price is two hundred and forty",
    "Wednesday the fifth of March",
    "the number of the room is three one eight",
    "goodbye Peter call tonight at seven thirty",
    "Emma and John call on Sunday evening",
    "confirm the dinner with Sarah next Tuesday",
    "the library is closed after seven thirty",
    "cancel the concert on the twenty first of June",
)
FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "m4a")
LONG_GAP_S = 0.6


def held_out_takes(text: str, first: int) -> Iterator[tuple[str, FloatArray]]:
    """Speak a sentence with all held-out voices in turn, starting with voice number `first`."""
    espeak, flite = Espeak(), Flite()
    names = [*held_out_espeak_voices(), *(f"flite {voice}" for voice in HELD_OUT_FLITE)]
    first %= len(names)
    for voice in names[first:] + names[:first]:
        if voice.startswith("flite "):
            spoken = flite.speak(text, voice=voice.removeprefix("flite "))
            samples, rate_hz = spoken.samples, spoken.rate_hz
        else:
            speech = espeak.speak(text, voice=voice, rate_wpm=150, word_gap=1)
            samples, rate_hz = speech.samples, speech.rate_hz
        yield voice, to_16k(samples.astype(np.float32) / np.float32(32768), rate_hz)


def write_audio(path: Path, samples: FloatArray) -> None:
    """Write 16 kHz mono in the format of the file suffix."""
    kinds = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
    kinds |= {".opus": ("OGG", "OPUS"), ".mp3": ("MP3", "MPEG_LAYER_III")}
    if path.suffix in kinds:
        container, coding = kinds[path.suffix]
        soundfile.write(path, samples, SAMPLE_RATE_HZ, format=container, subtype=coding)
        return
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)


def read_audio(path: Path) -> FloatArray:
    """Decode a recording to 16 kHz mono."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(str(path)) as source:
        frames = [f for frame in source.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def is_transcribed_correctly(transcriber: ModelTranscriber, samples: FloatArray, text: str) -> bool:
    """Return True if the model makes no error, both with and without timestamps."""
    texts = [transcriber.transcribe([samples], timestamps=flag)[0] for flag in (True, False)]
    return not any(count_errors(text, found).total for found in texts)


def build_engines(model: Path) -> list[WhisperTranscriptionEngine]:
    """Load the program's own engines in the precisions used on different processors."""
    settings: list[dict[str, Any]] = [
        {"engine_type": "standard"},
        {"precision": "float32+int8"},
        {"precision": "bfloat16+int8"},
        {"precision": "bfloat16+int8", "audio_context": "trim"},
        {"precision": "bfloat16"},
        {"precision": "int8"},
    ]
    return [load_engine(TranscriptionEngineConfig(model=str(model), **s)) for s in settings]


def is_transcribed_by_all(engines: list[WhisperTranscriptionEngine], path: Path, text: str) -> bool:
    """Return True if every engine transcribes a file without an error and without a set language."""
    return not any(
        count_errors(text, engine.transcribe_batch([path], vad="off")[0].text).total
        for engine in engines
    )


def make_samples(model: Path, target: Path) -> list[dict[str, object]]:
    """Choose and write the samples and SAMPLES.json; return its entries."""
    transcriber, engines = ModelTranscriber(model), build_engines(model)
    staging = target.with_name(f".{target.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    entries: list[dict[str, object]] = []
    kept: list[FloatArray] = []
    for number, text in enumerate(SENTENCES):
        for voice, samples in held_out_takes(text, first=3 * number):
            path = staging / f"{len(entries):02d}.{FORMATS[len(entries) % len(FORMATS)]}"
            write_audio(path, samples)
            decoded = read_audio(path)
            if is_transcribed_correctly(transcriber, decoded, text) and is_transcribed_by_all(
                engines, path, text
            ):
                kept.append(samples)
                entries.append(_entry(path.name, text, voice, decoded))
                break
            path.unlink()
        else:
            print(f"skipped, no held-out voice is transcribed correctly: {text}")
    _add_long(engines, staging, entries, kept)
    (staging / "SAMPLES.json").write_text(json.dumps(entries, indent=1) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return entries


def _entry(name: str, text: str, voice: str, samples: FloatArray) -> dict[str, object]:
    seconds = round(len(samples) / SAMPLE_RATE_HZ, 2)
    return {"file": name, "text": sentence(text), "voice": voice, "seconds": seconds}


def _add_long(
    engines: list[WhisperTranscriptionEngine],
    folder: Path,
    entries: list[dict[str, object]],
    kept: list[FloatArray],
) -> None:
    """Join the kept sentences to one recording over 30 s, if every engine transcribes it correctly."""
    gap = np.zeros(int(LONG_GAP_S * SAMPLE_RATE_HZ), np.float32)
    whole = np.concatenate([part for samples in kept for part in (samples, gap)] or [gap])
    text = " ".join(str(entry["text"]) for entry in entries)
    path = folder / "long.ogg"
    write_audio(path, whole)
    decoded = read_audio(path)
    if len(decoded) <= 30 * SAMPLE_RATE_HZ or not is_transcribed_by_all(engines, path, text):
        path.unlink()
        print("skipped the long recording: under 30 s or not transcribed without errors")
        return
    seconds = round(len(decoded) / SAMPLE_RATE_HZ, 2)
    entry = {"file": path.name, "text": text, "voice": "the voices above", "seconds": seconds}
    entries.append(entry)


def main() -> None:
    """Make the demo samples for the exported model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--target", type=Path, default=SAMPLES_FOLDER)
    args = parser.parse_args()
    entries = make_samples(args.model, args.target)
    words = sum(len(str(entry["text"]).split()) for entry in entries)
    print(f"{len(entries)} samples, {words} words")


if __name__ == "__main__":
    main()
