"""Measures an exported model and writes training/out/evaluation.json."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from thoth_watch import TranscriptionEngineConfig, load_engine
from thoth_watch.domain.decoding import DecodingOptions, LongForm
from training import evaluation_sets as sets
from training.evaluation_sets import EvaluationItem
from training.export import MODEL_FOLDER
from training.mel import SAMPLE_RATE_HZ, FloatArray

TIMESTAMP_TOLERANCE_S = 0.3


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Counts of word errors; add the counts of several texts before computing a rate."""

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
        """Return the number of all errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """Return the word error rate in percent."""
        return 100 * self.total / max(1, self.words)


def normalize(text: str) -> list[str]:
    """Split a text into lower-case words without punctuation; hyphens separate words."""
    return re.sub(r"[^\w\s]", "", text.lower().replace("-", " ")).split()


def count_errors(truth: str, transcript: str) -> WordErrors:
    """Align two texts by the fewest edits and count them."""
    reference, hypothesis = normalize(truth), normalize(transcript)
    # Each cell: (edits, substitutions, deletions, insertions).
    row = [(j, 0, 0, j) for j in range(len(hypothesis) + 1)]
    for i, word in enumerate(reference, start=1):
        above, row = row, [(i, 0, i, 0)]
        for j, found in enumerate(hypothesis, start=1):
            edits, subs, dels, ins = above[j - 1]
            if word != found:
                edits, subs = edits + 1, subs + 1
            e, s, d, n = above[j]
            deleted = (e + 1, s, d + 1, n)
            e, s, d, n = row[j - 1]
            inserted = (e + 1, s, d, n + 1)
            row.append(min((edits, subs, dels, ins), deleted, inserted))
    _, subs, dels, ins = row[-1]
    return WordErrors(subs, dels, ins, len(reference))


class ModelTranscriber:
    """Transcribes with the exported model through transformers' generate."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.processor = WhisperProcessor.from_pretrained(folder)
        self.model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()

    def transcribe(
        self, recordings: Sequence[FloatArray], *, timestamps: bool = True, batch: int = 8
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

    def transcribe_long(self, recording: FloatArray) -> str:
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
        text: str = self.processor.batch_decode(tokens, skip_special_tokens=True)[0]
        return text.strip()

    def times(self, recording: FloatArray) -> tuple[float, float] | None:
        """Return the first start and the last end of the transcribed text in s; None without text."""
        features = self.processor([recording], sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            tokens = self.model.generate(
                features.input_features,
                language="en",
                task="transcribe",
                return_timestamps=True,
            )
        decoded = self.processor.tokenizer.decode(tokens[0], output_offsets=True)
        stamps = [stamp for part in decoded["offsets"] for stamp in part["timestamp"]]
        known = [stamp for stamp in stamps if stamp is not None]
        return (known[0], known[-1]) if known else None


def measure(
    transcriber: ModelTranscriber, name: str, items: Sequence[EvaluationItem], **options: bool
) -> dict[str, object]:
    """Transcribe a set, print one line and return its figures."""
    texts = transcriber.transcribe([item.samples for item in items], **options)
    errors, exact = WordErrors(), 0
    by_voice: dict[str, WordErrors] = {}
    for item, text in zip(items, texts, strict=True):
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
            for item, text in zip(items, texts, strict=True)
            if count_errors(item.text, text).total
        ][:20],
    }


def measure_timestamps(
    transcriber: ModelTranscriber, items: Sequence[EvaluationItem]
) -> dict[str, object]:
    """Measure the share of utterances whose first start and last end are within 0.3 s of the speech."""
    near, errors = 0, []
    for item, start, end in sets.placed_items(list(items)):
        times = transcriber.times(item.samples)
        if times is None:
            continue
        errors.append((abs(times[0] - start), abs(times[1] - end)))
        near += max(errors[-1]) <= TIMESTAMP_TOLERANCE_S
    share = 100 * near / len(items)
    medians = [round(statistics.median(e[i] for e in errors), 3) for i in (0, 1)] if errors else []
    print(
        f"timestamps: {share:.1f} % of {len(items)} within {TIMESTAMP_TOLERANCE_S} s, medians {medians}"
    )
    return {"items": len(items), "within_0.3_s_percent": round(share, 1), "median_error_s": medians}


def measure_engine(
    folder: Path, name: str, items: Sequence[EvaluationItem], **settings: Any
) -> WordErrors:
    """Transcribe with this project's engine, by default in float32, and print one line."""
    config = TranscriptionEngineConfig(
        engine_type="batch",
        model=str(folder),
        language="en",
        **{"precision": "float32", **settings},
    )
    engine = load_engine(config)
    with tempfile.TemporaryDirectory() as folder_name:
        files = []
        for number, item in enumerate(items):
            files.append(Path(folder_name) / f"{number:04d}.wav")
            soundfile.write(files[-1], item.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        texts = [transcript.text for transcript in engine.transcribe_batch(files, vad="off")]
    errors = WordErrors()
    for item, text in zip(items, texts, strict=True):
        errors += count_errors(item.text, text)
    print(f"{name}: {len(items)} items, WER {errors.percent:.1f} %, {errors}", flush=True)
    return errors


def evaluate(folder: Path, people: Path | None, *, size: int, minutes: float) -> dict[str, object]:
    """Measure every set with up to `size` items and return the figures by set."""
    transcriber = ModelTranscriber(folder)
    results: dict[str, object] = {}
    ten_words, espeak = sets.ten_word_items(min(size, 60)), sets.espeak_items(size)
    results["ten words, held-out espeak"] = measure(transcriber, "ten words", ten_words)
    results["espeak held-out, clean"] = measure(transcriber, "espeak", espeak)
    results["espeak held-out, clean, no timestamps"] = measure(
        transcriber, "espeak without timestamps", espeak[:60], timestamps=False
    )
    results["espeak held-out, 10 dB noise, 8 kHz"] = measure(
        transcriber, "espeak in noise", sets.in_noise(espeak)
    )
    other_synthesizers = [*sets.flite_items(size // 2), *sets.festival_items(size // 2)]
    results["flite kal16 and slt, festival"] = measure(
        transcriber, "other synthesizers", other_synthesizers
    )
    if people is not None and people.is_dir():
        results["real people's digits"] = measure(transcriber, "people", sets.people_items(people))
    clips = sets.non_speech_items(max(200, size))
    texts = transcriber.transcribe([clip.samples for clip in clips])
    empty = sum(not text for text in texts)
    print(f"non-speech: {empty} of {len(clips)} empty")
    results["non-speech"] = {"items": len(clips), "empty": empty}
    results["timestamps"] = measure_timestamps(transcriber, espeak)
    engine_sets: dict[str, tuple[list[EvaluationItem], dict[str, str]]] = {
        "windows of 30 s": (espeak + other_synthesizers, {"audio_context": "full"}),
        "trimmed windows": (espeak + other_synthesizers, {"audio_context": "trim"}),
        "bfloat16": (espeak, {"precision": "bfloat16"}),
        "bfloat16+int8": (espeak, {"precision": "bf16+int8"}),
        "int8": (espeak, {"precision": "int8"}),
    }
    for name, (items, settings) in engine_sets.items():
        errors = measure_engine(folder, name, items, **settings)
        results[name] = {"wer_percent": round(errors.percent, 2), **asdict(errors)}
    for seed in (1, 2):
        item = sets.long_item(60 * minutes, seed)
        theirs = count_errors(item.text, transcriber.transcribe_long(item.samples))
        print(f"{item.voice}, transformers: WER {theirs.percent:.1f} %, {theirs}", flush=True)
        ours = {
            long_form: measure_engine(
                folder,
                f"{item.voice}, {long_form}",
                [item],
                decoding=DecodingOptions(long_form=long_form),
            )
            for long_form in LongForm
        }
        results[item.voice] = {
            "minutes": minutes,
            "transformers_wer_percent": round(theirs.percent, 2),
            **{
                f"{long_form}_wer_percent": round(found.percent, 2)
                for long_form, found in ours.items()
            },
        }
    return results


def main() -> None:
    """Measure the exported model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument(
        "--people", type=Path, help="Folder of real recordings; skipped if not given."
    )
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="Length of the long recordings."
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("training/out/evaluation.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = evaluate(args.model, args.people, size=args.size, minutes=args.minutes)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
