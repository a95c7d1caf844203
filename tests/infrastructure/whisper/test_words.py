"""Tests with the builtin model: all engines transcribe the same words, with few errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import thoth_watch
from thoth_watch.domain.engine import EngineType, TranscriptionEngineConfig
from thoth_watch.domain.engine_comparison import word_agreement
from thoth_watch.domain.transcript import Verdict
from thoth_watch.infrastructure.whisper import ENGINES, WhisperEngine
from thoth_watch.infrastructure.whisper.placement import has_native_bfloat16
from training.evaluate import WordErrors, count_errors
from training.utterances import make_utterances

BUILTIN = Path(thoth_watch.__file__).parent / "builtin"
MODEL, SAMPLES = BUILTIN / "model", BUILTIN / "samples"
RATE = 16_000
READABLE = {".wav", ".flac", ".ogg", ".mp3"}

pytestmark = [
    pytest.mark.words,
    pytest.mark.skipif(
        not (MODEL / "model.safetensors").exists(), reason="the builtin model is missing"
    ),
]


@pytest.fixture(scope="module")
def waveforms():
    files = sorted(f for f in SAMPLES.rglob("*") if f.suffix.lower() in READABLE)
    if not files:
        pytest.skip("the builtin samples are missing")
    read = [soundfile.read(file, dtype="float32", always_2d=True) for file in files]
    return [
        soxr.resample(samples.mean(axis=1), rate, RATE).astype(np.float32) for samples, rate in read
    ]


@pytest.fixture(scope="module")
def engines():
    config = TranscriptionEngineConfig(batch_size=4, language="en")
    return {kind: engine(config, builtin=MODEL) for kind, engine in ENGINES.items()}


@pytest.fixture(scope="module")
def utterances():
    """Return sixty utterances of ten words by voices that are not in the training data."""
    try:
        made = make_utterances(60)
    except OSError:
        pytest.skip("needs libespeak-ng1")
    return [(soxr.resample(u.samples, u.rate_hz, RATE).astype(np.float32), u.text) for u in made]


def test_accelerated_and_batch_agree_with_standard(engines, waveforms, transcribe, recording):
    recordings = [recording(k, s, language="en") for k, s in enumerate(waveforms)]
    words = {
        kind: [
            word
            for _, result in sorted(transcribe(engine, recordings).items())
            for word in result.transcript.text.split()
        ]
        for kind, engine in engines.items()
    }

    assert len(words["standard"]) > len(waveforms)
    assert word_agreement(words["standard"], words["accelerated"]) >= 0.998
    assert word_agreement(words["standard"], words["batch"]) >= 0.998


def test_engines_agree_on_sixty_files_and_make_few_errors(
    engines, utterances, transcribe, recording
):
    recordings = [recording(k, s, language="en") for k, (s, _) in enumerate(utterances)]
    texts = {
        kind: [
            result.transcript.text for _, result in sorted(transcribe(engine, recordings).items())
        ]
        for kind, engine in engines.items()
    }

    words = {kind: " ".join(parts).split() for kind, parts in texts.items()}
    assert word_agreement(words["standard"], words["accelerated"]) >= 0.998
    assert word_agreement(words["standard"], words["batch"]) >= 0.998
    for hypotheses in texts.values():
        errors = sum(
            (
                count_errors(truth, text)
                for (_, truth), text in zip(utterances, hypotheses, strict=True)
            ),
            start=WordErrors(),
        )
        assert errors.words == 600
        assert errors.percent <= 20


@pytest.mark.parametrize(
    ("settings", "max_points"),
    [
        ({"precision": "int8"}, 0.5),
        pytest.param(
            {"precision": "bfloat16+int8"},
            0.5,
            marks=pytest.mark.skipif(
                not has_native_bfloat16(),
                reason="bfloat16 is emulated on this processor, ten times slower",
            ),
        ),
        ({"audio_context": "trim"}, 1.0),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_faster_setting_adds_few_word_errors(
    utterances, transcribe, recording, settings, max_points
):
    """Limit the added word error rate of int8, of mixed precision and of trimmed windows, in points."""
    recordings = [recording(k, s, language="en") for k, (s, _) in enumerate(utterances)]
    percent = []
    for changes in ({}, settings):
        config = TranscriptionEngineConfig(**{"precision": "float32", "language": "en", **changes})
        results = transcribe(ENGINES[EngineType.BATCH](config, builtin=MODEL), recordings)
        errors = (
            count_errors(truth, results[k].transcript.text)
            for k, (_, truth) in enumerate(utterances)
        )
        percent.append(sum(errors, start=WordErrors()).percent)

    assert percent[1] <= percent[0] + max_points


def test_silence_has_no_words(engines, transcribe, recording):
    silence = recording(0, np.zeros(10 * RATE, np.float32), language="en")

    for engine in engines.values():
        assert transcribe(engine, [silence])[0].transcript.verdict is Verdict.EMPTY


def test_an_engine_loads_the_builtin_model_by_default():
    info = WhisperEngine().get_device_info()

    assert info["model"] == "builtin"
    assert info["model_revision"].startswith("sha256:")
