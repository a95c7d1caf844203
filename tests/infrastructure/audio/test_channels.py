"""Channels that are neither silent nor copies of another are decoded separately."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from thoth_watch.bootstrap import audio_file
from thoth_watch.infrastructure.audio import WorkerDecoder

RATE = 16_000
RNG = np.random.default_rng(0)
ONE, TWO, THREE = (0.1 * RNG.standard_normal((3, 2 * RATE))).astype(np.float32)
SILENCE = np.zeros(2 * RATE, np.float32)


@pytest.fixture(scope="module")
def decoder() -> Iterator[WorkerDecoder]:
    with WorkerDecoder() as decoder:
        yield decoder


def write_channels(path: Path, *channels: np.ndarray) -> Path:
    soundfile.write(path, np.stack(channels, axis=1), RATE, subtype="FLOAT")
    return path


def test_two_channels_are_split_and_keep_their_samples(decoder, tmp_path) -> None:
    file = audio_file(write_channels(tmp_path / "call.wav", ONE, TWO))

    recording = decoder.decode_channels(file, key=7)

    assert [name for name, _ in recording.channels] == ["left", "right"]
    assert np.array_equal(recording.channels[0][1].samples, ONE)
    assert np.array_equal(recording.channels[1][1].samples, TWO)
    assert (recording.key, recording.duration_s) == (7, 2.0)
    recording.close()


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        ((ONE,), []),
        ((ONE, ONE), []),
        ((ONE, ONE + np.float32(0.001) * TWO), []),
        ((ONE, SILENCE), []),
        ((SILENCE, ONE), []),
        ((SILENCE, SILENCE), []),
        ((ONE, -ONE), []),
        ((ONE, 0.5 * TWO + 0.5 * ONE), ["left", "right"]),
        ((ONE, SILENCE, TWO, ONE, THREE), ["left", "channel 3", "channel 5"]),
    ],
)
def test_silent_and_duplicate_channels_are_left_out(decoder, tmp_path, channels, names) -> None:
    file = audio_file(write_channels(tmp_path / "talk.wav", *channels))

    recording = decoder.decode_channels(file)

    assert [name for name, _ in recording.channels] == names
    if not names:
        loudest = max(channels, key=lambda channel: np.abs(channel).max() > 0)
        assert np.allclose(recording.samples, loudest, atol=0.001)
    recording.close()


def test_a_recording_with_too_many_channels_is_mixed_with_a_warning(decoder, tmp_path) -> None:
    file = audio_file(write_channels(tmp_path / "field.wav", *([ONE, TWO] * 6)))

    recording = decoder.decode_channels(file)

    assert recording.channels == ()
    assert recording.info.warnings == ("not split: 12 channels; at most 8 can be split",)
    assert np.allclose(recording.samples, (ONE + TWO) / 2, atol=1e-6)
    recording.close()


def test_an_mp3_of_one_speaker_in_stereo_is_one_recording(decoder, tmp_path) -> None:
    path = tmp_path / "talk.mp3"
    time_s = np.arange(2 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    soundfile.write(path, np.stack([tone, tone], axis=1), RATE, format="MP3")

    recording = decoder.decode_channels(audio_file(path))

    assert recording.channels == ()
    recording.close()
