"""Measures an exported model and writes training/out/evaluation.json."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from training import evaluation_sets as sets
from training.evaluation_sets import Item
from training.export import MODEL_FOLDER
from training.mel import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Counts of word errors; add them up before dividing."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
        )

    @property
    def total(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """Word error rate in percent."""
        return 100 * self.total / max(1, self.words)


def normalise(text: str) -> list[str]:
    """Lower-case, hyphens to spaces, punctuation dropped, split into words."""
    return re.sub(r"[^\w\s]", "", text.lower().replace("-", " ")).split()


def count_errors(truth: str, heard: str) -> WordErrors:
    """Align two texts by the fewest edits and count them."""
    reference, hypothesis = normalise(truth), normalise(heard)
    # Each cell: (edits, substitutions, deletions, insertions).
    row = [(j, 0, 0, j) for j in range(len(hypothesis) + 1)]
    for i, word in enumerate(reference, start=1):
        above, row = row, [(i, 0, i, 0)]
        for j, said in enumerate(hypothesis, start=1):
            edits, subs, dels, ins = above[j - 1]
            if word != said:
                edits, subs = edits + 1, subs + 1
            e, s, d, n = above[j]
            deleted = (e + 1, s, d + 1, n)
            e, s, d, n = row[j - 1]
            inserted = (e + 1, s, d, n + 1)
            row.append(min((edits, subs, dels, ins), deleted, inserted))
    _, subs, dels, ins = row[-1]
    return WordErrors(subs, dels, ins, len(reference))


class Listener:
    """The exported model behind transformers' generate."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.processor = WhisperProcessor.from_pretrained(folder)
        self.model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()

    def hear(
        self, recordings: Sequence[sets.FloatArray], *, timestamps: bool = True, batch: int = 8
    ) -> list[str]:
        """Transcribe recordings of up to 30 s in 30 s windows, greedily."""
        texts: list[str] = []
        for start in range(0, len(recordings), batch):
            features = self.processor(
                list(recordings[start : start + batch]),
                sampling_rate=SAMPLE_RATE_HZ,
                return_tensors="pt",
                return_attention_mask=True,
            )
            with torch.inference_mode():
                tokens = self.model.generate(
                    features.input_features.to(self.model.dtype),
                    attention_mask=features.attention_mask,
                    language="en",
                    task="transcribe",
                    return_timestamps=timestamps,
                )
            texts += self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def hear_long(self, recording: sets.FloatArray) -> str:
        """Transcribe a recording of any length by Whisper's sequential algorithm."""
        features = self.processor(
            [recording],
            sampling_rate=SAMPLE_RATE_HZ,
            return_tensors="pt",
            truncation=False,
            padding="longest",
            return_attention_mask=True,
        )
        with torch.inference_mode():
            tokens = self.model.generate(
                features.input_features.to(self.model.dtype),
                attention_mask=features.attention_mask,
                language="en",
                task="transcribe",
                return_timestamps=True,
            )
        return self.processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()


def measure(listener: Listener, name: str, items: Sequence[Item], **how: bool) -> dict[str, object]:
    """Transcribe a set, print one line and return its figures."""
    heard = listener.hear([item.samples for item in items], **how)
    errors, exact, by_voice = WordErrors(), 0, {}
    for item, text in zip(items, heard, strict=True):
        found = count_errors(item.text, text)
        errors, exact = errors + found, exact + (found.total == 0)
        by_voice[item.voice] = by_voice.get(item.voice, WordErrors()) + found
    print(f"{name}: {len(items)} items, WER {errors.percent:.1f} %, {exact} exact, {errors}")
    return {
        "items": len(items),
        "exact": exact,
        "wer_percent": round(errors.percent, 2),
        **asdict(errors),
        "by_voice": {voice: round(found.percent, 1) for voice, found in by_voice.items()},
        "worst": [
            [item.text, text]
            for item, text in zip(items, heard, strict=True)
            if count_errors(item.text, text).total
        ][:20],
    }


def evaluate(folder: Path, people: Path | None, *, size: int) -> dict[str, object]:
    """Measure every set, `size` items each (fewer for the slow synthesizers)."""
    listener, results = Listener(folder), {}
    ten_words, espeak = sets.ten_word_items(size), sets.espeak_items(size)
    results["ten words, held-out espeak"] = measure(listener, "ten words", ten_words)
    results["espeak held-out, clean"] = measure(listener, "espeak", espeak)
    results["espeak held-out, clean, no timestamps"] = measure(
        listener, "espeak without timestamps", espeak, timestamps=False
    )
    results["espeak held-out, 10 dB noise, 8 kHz"] = measure(
        listener, "espeak in noise", sets.in_noise(espeak)
    )
    flite = list(sets.flite_items(size // 2))
    results["flite kal16 and slt"] = measure(listener, "flite held-out", flite)
    festival = list(sets.festival_items(size // 3))
    results["festival"] = measure(listener, "festival", festival)
    if people is not None and people.is_dir():
        results["real people's digits"] = measure(listener, "people", sets.people_items(people))
    clips = sets.non_speech_items(size)
    heard = listener.hear([clip.samples for clip in clips])
    empty = sum(not text for text in heard)
    print(f"non-speech: {empty} of {len(clips)} empty")
    results["non-speech"] = {"items": len(clips), "empty": empty}
    return results


def main() -> None:
    """Measure the exported model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument(
        "--people", type=Path, help="a folder of real recordings; none if not given"
    )
    parser.add_argument("--size", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("training/out/evaluation.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = evaluate(given.model, given.people, size=given.size)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
