"""Tests with the builtin model: long recordings, times, and agreement at every batch size."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from transformers import WhisperForConditionalGeneration

import thoth_watch
from tests.infrastructure.whisper.longform.test_sequential import SEQUENTIAL
from thoth_watch import load_engine
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds
from thoth_watch.domain.audio import AudioInfo
from thoth_watch.domain.decoding import GREEDY, DecodingOptions
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.engine_comparison import word_agreement
from thoth_watch.domain.transcript import Verdict
from thoth_watch.infrastructure.whisper import (
    ENGINES,
    AcceleratedWhisperEngine,
    WhisperEngine,
)
from thoth_watch.infrastructure.whisper.longform.features import log_mels
from thoth_watch.infrastructure.whisper.network.silence_warnings import silence_warnings
from training.evaluate import WordErrors, count_errors, normalize
from training.utterances import make_utterances

MODEL = Path(thoth_watch.__file__).parent / "builtin" / "model"
RATE = 16_000
WORD = re.compile(r"\w+")

nightly = pytest.mark.nightly
pytestmark = [
    pytest.mark.words,
    pytest.mark.skipif(
        not (MODEL / "model.safetensors").exists(), reason="the builtin model is missing"
    ),
]


@dataclass(frozen=True)
class Spoken:
    """A recording of known utterances with the start and end of each in seconds."""

    samples: np.ndarray
    texts: list[str]
    times: list[tuple[float, float]]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


@pytest.fixture(scope="session")
def utterances():
    """Return a function that makes 16 kHz utterances of ten words by voices not used in training."""

    def make(count, *, seed=0):
        try:
            made = make_utterances(count, seed=seed)
        except OSError:
            pytest.skip("needs libespeak-ng1")
        return [
            (soxr.resample(u.samples, u.rate_hz, RATE).astype(np.float32), u.text) for u in made
        ]

    return make


@pytest.fixture(scope="session")
def spoken(utterances):
    """Return a cached function that joins utterances, 0.4 to 1.5 s apart, to at least `seconds`."""

    @cache
    def make(seconds, *, seed=0):
        rng = np.random.default_rng(seed)
        parts, texts, times, at = [], [], [], 0
        for samples, text in utterances(int(seconds / 4) + 10, seed=seed):
            gap = int(rng.uniform(0.4, 1.5) * RATE)
            times.append((at / RATE, (at + len(samples)) / RATE))
            parts += [samples, np.zeros(gap, np.float32)]
            texts.append(text)
            at += len(samples) + gap
            if at >= seconds * RATE:
                break
        assert at >= seconds * RATE
        return Spoken(np.concatenate(parts), texts, times)

    return make


@pytest.fixture(scope="session")
def engine_of():
    loaded = {}

    def get(kind="standard", **settings):
        key = (kind, tuple(sorted(settings.items())))
        if key not in loaded:
            config = TranscriptionEngineConfig(language="en", **settings)
            loaded[key] = ENGINES[kind](config, builtin=MODEL)
        return loaded[key]

    return get


@pytest.fixture(scope="session")
def reference():
    with silence_warnings():
        return WhisperForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32)


def edits_between(truth: list[str], hypothesis: list[str]) -> int:
    """Return the word edit distance; vectorized, so that hours of text take about a second."""
    numbers = {word: n for n, word in enumerate({*truth, *hypothesis})}
    columns = np.arange(len(hypothesis) + 1)
    hypothesis_numbers = np.array([numbers[word] for word in hypothesis])
    row = columns
    for number, word in enumerate(truth, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (hypothesis_numbers != numbers[word]))
        row = np.minimum.accumulate(np.concatenate(([number], best)) - columns) + columns
    return int(row[-1])


def test_the_edit_distance_equals_that_of_the_evaluation() -> None:
    rng = random.Random(2)
    for _ in range(50):
        truth, hypothesis = (rng.choices("abcd", k=rng.randrange(1, 12)) for _ in range(2))
        expected = count_errors(" ".join(truth), " ".join(hypothesis)).total
        assert edits_between(truth, hypothesis) == expected


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=nightly)])
@pytest.mark.parametrize("engine_class", [WhisperEngine, AcceleratedWhisperEngine])
def test_greedy_tokens_of_utterances_equal_those_of_transformers(
    utterances, reference, engine_class, count
):
    config = TranscriptionEngineConfig(precision="float32", decoding=GREEDY)
    engine = engine_class(config, builtin=MODEL)
    loaded, decoder = engine._loaded, engine._scheduler._transcriber._decoder
    prompt = loaded.special_tokens.prompt("en", "transcribe")
    for samples, _ in utterances(count):
        features = log_mels(loaded.extractor, [samples])
        with torch.inference_mode(), silence_warnings():
            result = reference.generate(
                features,
                language="en",
                task="transcribe",
                return_timestamps=True,
                return_dict_in_generate=True,
                force_unique_generate_call=True,
            )
        hidden = decoder.encode(features)
        (found,) = decoder.greedy(decoder.prefill(hidden), [prompt])

        expected = result.sequences[0, len(prompt) :].tolist()
        assert list(found.tokens) == expected[: expected.index(loaded.special_tokens.end)]


@pytest.mark.parametrize(
    "minutes", [1.2, *(pytest.param(float(m), marks=nightly) for m in range(1, 11))]
)
def test_sequential_tokens_equal_those_of_transformers(
    spoken, reference, engine_of, transcribe, recording, minutes
):
    engine = engine_of("standard", decoding=SEQUENTIAL)
    long = spoken(60 * minutes, seed=int(10 * minutes))
    features = engine._loaded.extractor(
        [long.samples],
        sampling_rate=RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
        return_attention_mask=True,
    )
    with torch.inference_mode(), silence_warnings():
        expected = reference.generate(
            features.input_features,
            attention_mask=features.attention_mask,
            return_timestamps=True,
            return_segments=True,
            language="en",
            task="transcribe",
        )["segments"][0]

    transcript = transcribe(engine, [recording(0, long.samples, language="en")])[0].transcript

    end = engine._loaded.special_tokens.end
    assert [t for s in transcript.segments for t in s.tokens if t < end] == [
        t for s in expected for t in s["tokens"].tolist() if t < end
    ]
    assert len(transcript.text.split()) > 60 * minutes


@pytest.mark.parametrize(
    ("count", "sizes", "orders"),
    [(30, (3, 8), 1), pytest.param(300, (1, 2, 3, 5, 8, 16, 32), 3, marks=nightly)],
)
def test_engines_agree_at_every_batch_size_and_in_any_order(
    utterances, engine_of, transcribe, recording, count, sizes, orders
):
    made = utterances(count, seed=1)
    recordings = [recording(k, samples, language="en") for k, (samples, _) in enumerate(made)]
    standard = transcribe(engine_of("standard"), recordings)
    truth = [word for key in range(count) for word in words_of(standard[key].transcript.text)]
    assert len(truth) > 8 * count
    for kind in ("accelerated", "batch"):
        for index, size in enumerate(sizes):
            engine = engine_of(kind, batch_size=size)
            # Files of the accelerated engine share no forward pass: one order per size is enough.
            for order in range(orders) if kind == "batch" else [index % orders]:
                shuffled = random.Random(order).sample(recordings, count)
                results = transcribe(engine, shuffled)
                words = [w for key in range(count) for w in words_of(results[key].transcript.text)]
                assert word_agreement(truth, words) >= 0.998, (kind, size, order)


@pytest.fixture(scope="session")
def errors_one_by_one(spoken, engine_of):
    """Return a cached function that counts a recording's word errors, utterance by utterance."""

    @cache
    def errors(seconds):
        long = spoken(seconds, seed=7)
        waveforms = [long.samples[int(a * RATE) : int(b * RATE)] for a, b in long.times]
        results = engine_of("batch").transcribe(
            (
                Recording(k, s, f"{k:064x}", AudioInfo(None, len(s) / RATE, RATE, 1, "", ""), "en")
                for k, s in enumerate(waveforms)
            ),
            seconds=EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
        return sum(
            (count_errors(long.texts[r.key], r.transcript.text) for r in results),
            start=WordErrors(),
        )

    return errors


@pytest.mark.parametrize("long_form", ["windowed", "sequential"])
@pytest.mark.parametrize("minutes", [3, pytest.param(120, marks=nightly)])
def test_a_long_recording_is_transcribed_to_its_last_second(
    spoken, tmp_path, long_form, minutes, errors_one_by_one
):
    long = spoken(60.0 * minutes, seed=7)
    engine = load_engine(
        TranscriptionEngineConfig(
            engine_type="batch",
            batch_size=8,
            language="en",
            decoding=DecodingOptions(long_form=long_form, condition_on_previous_text=False),
        )
    )
    soundfile.write(tmp_path / "long.wav", long.samples, RATE, subtype="PCM_16")
    before = _peak_rss_bytes(reset=True)

    (transcript,) = engine.transcribe_batch([tmp_path / "long.wav"])

    assert _peak_rss_bytes() - before < 1.5 * 2**30
    errors = errors_one_by_one(60.0 * minutes)
    truth = normalize(long.text)
    percent = 100 * edits_between(truth, normalize(transcript.text)) / len(truth)
    margin = 0.5 if minutes >= 60 else 6.0  # in 3 minutes, one word is 0.3 points
    assert percent <= errors.percent + margin, (percent, errors)
    assert transcript.segments[-1].end >= long.times[-1][1] - 2
    _assert_gaps_are_pauses(transcript.segments, long.times)


@pytest.mark.parametrize("long_form", ["windowed", "sequential"])
def test_sparse_speech_is_transcribed_completely(utterances, tmp_path, long_form):
    """Transcribe utterances after pauses: the model ignores speech after seconds of silence in a window."""
    parts, truth = [], []
    for (samples, text), pause_s in zip(utterances(9, seed=4), (5, 9, 20) * 3, strict=True):
        parts += [np.zeros(pause_s * RATE, np.float32), samples]
        truth.append(text)
    soundfile.write(tmp_path / "sparse.wav", np.concatenate(parts), RATE, subtype="PCM_16")
    options = DecodingOptions(
        long_form=long_form,
        condition_on_previous_text=False,  # the model is not trained for it
        temperature=(0.0,),
        retry_suspect=False,
    )
    engine = load_engine(TranscriptionEngineConfig(language="en", decoding=options))

    (transcript,) = engine.transcribe_batch([tmp_path / "sparse.wav"])

    errors = count_errors(" ".join(truth), transcript.text)
    assert errors.words == 90
    assert errors.deletions <= 5  # a skipped utterance has ten words
    assert transcript.verdict is Verdict.OK


def _assert_gaps_are_pauses(segments, times):
    pauses = list(zip([0.0, *(e for _, e in times)], [s for s, _ in times], strict=False))
    edge = 0.0
    for segment in segments:
        if segment.start > edge:
            pause_s = max(
                (min(b, segment.start) - max(a, edge) for a, b in pauses if b > edge), default=0.0
            )
            assert segment.start - edge - max(0.0, pause_s) <= 2.0, (edge, segment)
        edge = max(edge, segment.end)


def _peak_rss_bytes(*, reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=nightly)])
def test_audio_without_speech_never_has_the_verdict_ok(engine_of, transcribe, recording, count):
    from training.evaluation_sets import non_speech_items

    clips = [
        recording(k, item.samples, language="en") for k, item in enumerate(non_speech_items(count))
    ]

    results = transcribe(engine_of("batch", batch_size=8), clips)

    verdicts = [results[k].transcript.verdict for k in range(count)]
    assert all(verdict in {Verdict.EMPTY, Verdict.SUSPECT} for verdict in verdicts)
    assert verdicts.count(Verdict.EMPTY) >= 0.9 * count


@pytest.mark.parametrize("count", [20, pytest.param(150, marks=nightly)])
def test_words_are_timed_within_a_quarter_of_a_second(transcribe, recording, engine_of, count):
    from training.espeak import Espeak
    from training.grammar import phrase
    from training.voices import held_out_espeak_voices

    try:
        espeak = Espeak()
    except OSError:
        pytest.skip("needs libespeak-ng1")
    rng, truths, recordings = random.Random(3), [], []
    for key in range(count):
        text, voice = phrase(rng), rng.choice(held_out_espeak_voices())
        speech = espeak.speak(text, voice=voice, rate_wpm=rng.randint(130, 190))
        samples = soxr.resample(speech.samples.astype(np.float32) / 32768, speech.rate_hz, RATE)
        starts: dict[int, float] = {}
        for sample, position in speech.words:
            starts.setdefault(position, sample / speech.rate_hz)
        places = [match.start() for match in re.finditer(r"\S+", text)]
        truths.append((words_of(text), [starts.get(place) for place in places]))
        recordings.append(recording(key, samples.astype(np.float32), language="en"))

    options = DecodingOptions(word_timestamps=True)
    results = transcribe(engine_of("batch", batch_size=8, decoding=options), recordings)

    errors = []
    for key, (text, starts) in enumerate(truths):
        words = [word for s in results[key].transcript.segments for word in s.words]
        if [w for word in words for w in words_of(word.word)] != text:
            continue  # transcribed differently: no true times to compare with
        errors += [abs(w.start - s) for w, s in zip(words, starts, strict=True) if s is not None]
    assert len(errors) > 2 * count
    assert sum(error <= 0.25 for error in errors) >= 0.9 * len(errors)
