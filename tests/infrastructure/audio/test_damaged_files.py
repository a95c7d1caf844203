"""Damage in a recording is reported; the audio that can be decoded is kept."""

from pathlib import Path

import numpy as np
import pytest

from tests.infrastructure.audio.audio_writers import (
    SECONDS,
    noise,
    tone,
    truncate,
    write_silent_video,
    write_with_av,
    write_with_soundfile,
)
from thoth_watch.domain.errors import NotAudio
from thoth_watch.infrastructure.audio import WorkerDecoder
from thoth_watch.infrastructure.files import audio_file


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "a.caf"])
def test_a_truncated_file_is_decoded_as_far_as_it_goes_and_flagged(
    decoder: WorkerDecoder, tmp_path: Path, name: str
) -> None:
    subtype = "OPUS" if name == "a.opus" else None
    made = write_with_soundfile(tmp_path / name, noise(48_000), 48_000, subtype=subtype)
    recording = decoder.decode(audio_file(truncate(made)))
    assert 0.2 * SECONDS < recording.duration_s < 0.8 * SECONDS
    assert any(warning.startswith("truncated: ") for warning in recording.info.warnings)


@pytest.mark.parametrize(
    ("name", "codec", "container", "options"),
    [
        ("a.webm", "libopus", None, {}),
        ("a.mkv", "aac", None, {}),
        ("a.m4a", "aac", "ipod", {"movflags": "faststart"}),
        ("a.wma", "wmav2", "asf", {}),
    ],
)
def test_a_truncated_container_is_decoded_as_far_as_it_goes_and_flagged(
    decoder: WorkerDecoder,
    tmp_path: Path,
    name: str,
    codec: str,
    container: str | None,
    options: dict[str, str],
) -> None:
    made = write_with_av(
        tmp_path / name, noise(48_000), 48_000, codec=codec, container=container, options=options
    )
    recording = decoder.decode(audio_file(truncate(made)))
    assert 0.2 * SECONDS < recording.duration_s < 0.8 * SECONDS
    assert any(warning.startswith("truncated: ") for warning in recording.info.warnings)


def test_a_file_that_ends_within_its_last_packet_is_flagged_however_little_is_missing(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    made = write_with_av(
        tmp_path / "a.m4a",
        noise(16_000),
        16_000,
        codec="aac",
        container="ipod",
        options={"movflags": "faststart"},
    )
    made.write_bytes(made.read_bytes()[:-20])
    recording = decoder.decode(audio_file(made))
    assert "truncated: the file ends within an audio packet" in recording.info.warnings


def test_a_flac_damaged_in_the_middle_is_read_beyond_the_damage(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = write_with_soundfile(tmp_path / "a.flac", noise(44_100), 44_100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(content)
    recording = decoder.decode(audio_file(path))
    assert recording.duration_s > 0.8 * SECONDS
    assert any(warning.startswith("damaged: ") for warning in recording.info.warnings)


def test_a_few_nan_or_infinite_samples_become_silence(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    samples = tone(16_000)
    samples[100:110] = np.nan
    samples[200] = np.inf
    path = write_with_soundfile(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    recording = decoder.decode(audio_file(path))
    assert np.isfinite(recording.samples).all()
    assert not recording.samples[100:110].any()
    assert recording.info.warnings == ("repaired: 11 samples are not numbers; replaced by silence",)


def test_a_recording_with_many_nan_samples_is_refused(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    samples = tone(16_000)
    samples[:4_000] = np.nan
    path = write_with_soundfile(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(NotAudio, match="not numbers"):
        decoder.decode(audio_file(path))


def test_samples_far_above_full_scale_are_clipped_with_a_warning(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", tone(16_000) * 32_768, 16_000, subtype="FLOAT")
    recording = decoder.decode(audio_file(path))
    assert np.abs(recording.samples).max() == 1.0
    assert recording.info.warnings[0].startswith("clipped: ")


def test_a_video_without_audio_is_refused_with_the_reason(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    with pytest.raises(NotAudio, match="no audio track"):
        decoder.decode(audio_file(write_silent_video(tmp_path / "a.mp4")))


def test_a_text_file_named_wav_is_refused_with_both_libraries_errors(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_text("these are the minutes of the meeting\n" * 100)
    with pytest.raises(NotAudio, match=r"not a readable recording \(soundfile: .*; FFmpeg: "):
        decoder.decode(audio_file(path))
    assert decoder.probe(audio_file(path)) is None


def test_an_empty_file_is_refused_as_empty(decoder: WorkerDecoder, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.touch()
    with pytest.raises(NotAudio, match="empty: 0 bytes"):
        decoder.decode(audio_file(path))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ogg", "a.aac"])
def test_random_bytes_are_never_decoded_as_a_recording(
    decoder: WorkerDecoder, tmp_path: Path, name: str, seed: int
) -> None:
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(seed).bytes(50_000))
    with pytest.raises(NotAudio):
        decoder.decode(audio_file(path))
