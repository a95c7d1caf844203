"""Ten-word test utterances by espeak-ng voices that are not used in training.

Needs only the espeak-ng library, numpy and soundfile. The same seed gives the same files:

    python -m training.utterances --count 60 --words 10 --out DIR

writes DIR/000.wav .. and DIR/truth.json, a list of {file, text, voice, seconds}.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from training.espeak import Espeak
from training.grammar import exact_utterance
from training.voices import held_out_espeak_voices


@dataclass(frozen=True, slots=True)
class TestUtterance:
    """One held-out utterance: float32 samples in [-1, 1] at rate_hz, its text and voice."""

    samples: npt.NDArray[np.float32]
    rate_hz: int
    text: str
    voice: str


def make_utterances(count: int, *, words: int = 10, seed: int = 0) -> list[TestUtterance]:
    """Speak `count` texts of exactly `words` words with the held-out voices in turn."""
    rng, espeak, voices = random.Random(f"test {seed}"), Espeak(), held_out_espeak_voices()
    utterances = []
    for index in range(count):
        text, voice = exact_utterance(rng, words), voices[index % len(voices)]
        speech = espeak.speak(
            text,
            voice=voice,
            rate_wpm=rng.randint(130, 200),
            pitch=rng.randint(30, 70),
            word_gap=rng.choice([0, 0, 1]),
        )
        samples = speech.samples.astype(np.float32) / np.float32(32768)
        utterances.append(TestUtterance(samples, speech.rate_hz, text, voice))
    return utterances


def write_utterances(folder: Path, utterances: list[TestUtterance]) -> None:
    """Write the wav files (16 bit, espeak's rate) and truth.json."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = []
    for index, utterance in enumerate(utterances):
        name = f"{index:03d}.wav"
        soundfile.write(folder / name, utterance.samples, utterance.rate_hz, subtype="PCM_16")
        facts = {key: value for key, value in asdict(utterance).items() if key in ("text", "voice")}
        seconds = round(len(utterance.samples) / utterance.rate_hz, 3)
        truth.append({"file": name, **facts, "seconds": seconds})
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def main() -> None:
    """Write held-out test utterances to a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--words", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write_utterances(args.out, make_utterances(args.count, words=args.words, seed=args.seed))
    print(f"{args.count} utterances in {args.out}")


if __name__ == "__main__":
    main()
