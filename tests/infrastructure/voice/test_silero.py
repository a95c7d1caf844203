"""Tests of speech detection with the Silero VAD model."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from thoth_watch.bootstrap import SAMPLES
from thoth_watch.domain.speech import Vad, total_s
from thoth_watch.infrastructure.voice import SileroVoiceActivity
from thoth_watch.infrastructure.voice.speech_spans import find_speech_spans

RATE = 16_000


@pytest.fixture(scope="module")
def voice() -> SileroVoiceActivity:
    return SileroVoiceActivity()


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """Return a demo sample of the builtin model: a few seconds of speech."""
    samples, rate_hz = soundfile.read(SAMPLES / "00.wav", dtype="float32")
    return soxr.resample(samples, rate_hz, RATE).astype(np.float32)


@pytest.fixture(scope="module")
def sparse(spoken: np.ndarray) -> np.ndarray:
    """Return 10 s of silence, speech, 20 s of noise, speech, 10 s of silence."""
    rng = np.random.default_rng(0)
    noise = (0.01 * rng.standard_normal(20 * RATE)).astype(np.float32)
    silence = np.zeros(10 * RATE, np.float32)
    return np.concatenate((silence, spoken, noise, spoken, silence))


def test_probabilities_equal_those_of_the_packages_torch_model(voice, sparse) -> None:
    package = importlib.util.find_spec("silero_vad")
    assert package is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = torch.jit.load(Path(str(package.origin)).parent / "data" / "silero_vad.jit")
    with torch.no_grad():
        expected = own.audio_forward(torch.from_numpy(sparse)[None], RATE)[0].numpy()

    found = voice.probabilities(sparse)

    assert len(found) == len(expected) > 512  # more than one block
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("vad", [Vad.AUTO, Vad.ON])
def test_speech_is_detected_and_noise_is_not(voice, sparse, spoken, vad) -> None:
    spans = voice.detect(sparse, vad=vad)

    is_speech = np.zeros(len(sparse), bool)
    for start, end in spans:
        is_speech[int(start * RATE) : int(end * RATE)] = True
    first, second = 10 * RATE, 30 * RATE + len(spoken)
    assert is_speech[first : first + len(spoken)].mean() > 0.8
    assert is_speech[second : second + len(spoken)].mean() > 0.8
    assert total_s(spans) < 2.5 * len(spoken) / RATE


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(5), np.zeros(40 * RATE)])
def test_silence_of_any_length_contains_no_speech(voice, samples) -> None:
    assert voice.detect(samples.astype(np.float32), vad=Vad.AUTO) == ()


def test_detection_keeps_torchs_thread_count(voice, spoken) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        SileroVoiceActivity().detect(spoken, vad=Vad.ON)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_long_recording_is_read_in_parts(voice, tmp_path) -> None:
    file = tmp_path / "long.f32"
    with file.open("wb") as sparse:
        sparse.truncate(60 * RATE * 4)

    class RecordingMemmap(np.memmap):
        longest = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            RecordingMemmap.longest = max(RecordingMemmap.longest, np.size(part))
            return part

    voice.detect(RecordingMemmap(file, dtype=np.float32, mode="r"), vad=Vad.AUTO)

    assert 0 < RecordingMemmap.longest <= 17 * RATE


def test_spans_are_joined_over_short_silence_and_short_spans_are_dropped() -> None:
    probabilities = [0, 1, 1, 1, 0, 0, 1, 1, 1, 0.4, 1, *[0] * 9, 1, *[0] * 9, 1, 1, 1, 1]

    found = find_speech_spans(
        np.array(probabilities, np.float32),
        frame_s=0.1,
        duration_s=3.45,
        threshold=0.5,
        neg_threshold=0.3,
    )

    assert found == ((0.1, 1.1), (2.0, 2.1), (3.0, 3.4)) or found == ((0.1, 1.1), (3.0, 3.4))
