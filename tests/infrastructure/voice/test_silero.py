"""Speech is found where it is, by the package's own probabilities."""

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
    """A sample of the builtin model: somebody speaks for some seconds."""
    samples, rate_hz = soundfile.read(SAMPLES / "00.wav", dtype="float32")
    return soxr.resample(samples, rate_hz, RATE).astype(np.float32)


@pytest.fixture(scope="module")
def sparse(spoken: np.ndarray) -> np.ndarray:
    """10 s of nothing, speech, 20 s of noise, speech, 10 s of nothing."""
    rng = np.random.default_rng(0)
    noise = (0.01 * rng.standard_normal(20 * RATE)).astype(np.float32)
    silence = np.zeros(10 * RATE, np.float32)
    return np.concatenate((silence, spoken, noise, spoken, silence))


def test_the_probabilities_are_those_of_the_packages_own_model(voice, sparse) -> None:
    package = importlib.util.find_spec("silero_vad")
    assert package is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = torch.jit.load(Path(str(package.origin)).parent / "data" / "silero_vad.jit")
    with torch.no_grad():
        wanted = own.audio_forward(torch.from_numpy(sparse)[None], RATE)[0].numpy()

    found = voice.probabilities(sparse)

    assert len(found) == len(wanted) > 512  # more than one block
    assert np.abs(found - wanted).max() < 1e-3


@pytest.mark.parametrize("vad", [Vad.AUTO, Vad.ON])
def test_speech_is_found_where_it_is(voice, sparse, spoken, vad) -> None:
    stretches = voice.detect(sparse, vad=vad)

    heard = np.zeros(len(sparse), bool)
    for start, end in stretches:
        heard[int(start * RATE) : int(end * RATE)] = True
    first, second = 10 * RATE, 30 * RATE + len(spoken)
    assert heard[first : first + len(spoken)].mean() > 0.8
    assert heard[second : second + len(spoken)].mean() > 0.8
    assert total_s(stretches) < 2.5 * len(spoken) / RATE


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(5), np.zeros(40 * RATE)])
def test_nobody_speaks_in_silence_of_any_length(voice, samples) -> None:
    assert voice.detect(samples.astype(np.float32), vad=Vad.AUTO) == ()


def test_looking_for_it_leaves_torch_its_threads(voice, spoken) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        SileroVoiceActivity().detect(spoken, vad=Vad.ON)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_recording_without_end_is_not_read_at_once(voice, tmp_path) -> None:
    file = tmp_path / "long.f32"
    with file.open("wb") as sparse:
        sparse.truncate(60 * RATE * 4)

    class Watched(np.memmap):
        longest = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            Watched.longest = max(Watched.longest, np.size(part))
            return part

    voice.detect(Watched(file, dtype=np.float32, mode="r"), vad=Vad.AUTO)

    assert 0 < Watched.longest <= 17 * RATE


def test_stretches_join_over_short_silence_and_short_ones_are_none() -> None:
    odds = [0, 1, 1, 1, 0, 0, 1, 1, 1, 0.4, 1, *[0] * 9, 1, *[0] * 9, 1, 1, 1, 1]

    found = find_speech_spans(
        np.array(odds, np.float32), frame_s=0.1, duration_s=3.45, threshold=0.5, neg_threshold=0.3
    )

    assert found == ((0.1, 1.1), (2.0, 2.1), (3.0, 3.4)) or found == ((0.1, 1.1), (3.0, 3.4))
