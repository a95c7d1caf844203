"""Valid recordings of every format are decoded completely, at the right pitch, without a warning."""

from pathlib import Path

import numpy as np
import pytest

from tests.infrastructure.audio.audio_writers import (
    SECONDS,
    TONE_HZ,
    loudest_hz,
    tone,
    write_with_av,
    write_with_soundfile,
)
from thoth_watch.domain.audio import AudioConfig
from thoth_watch.infrastructure.audio import WorkerDecoder
from thoth_watch.infrastructure.files import audio_file

SOUNDFILE = [
    ("a.wav", 16_000, "PCM_16"),
    ("a.wav", 44_100, "PCM_24"),
    ("a.wav", 48_000, "FLOAT"),
    ("a.wav", 8_000, "PCM_U8"),
    ("a.wav", 11_025, "ULAW"),
    ("a.wav", 22_050, "DOUBLE"),
    ("a.flac", 44_100, "PCM_16"),
    ("a.ogg", 44_100, "VORBIS"),
    ("a.oga", 22_050, "VORBIS"),
    ("a.opus", 48_000, "OPUS"),
    ("a.mp3", 44_100, None),
    ("a.aiff", 44_100, None),
    ("a.caf", 44_100, None),
]
AV = [
    ("a.m4a", 44_100, "aac", "ipod"),
    ("a.mp4", 48_000, "aac", None),
    ("a.mov", 44_100, "aac", None),
    ("alac.m4a", 44_100, "alac", "ipod"),
    ("a.aac", 44_100, "aac", "adts"),
    ("a.webm", 48_000, "libopus", None),
    ("a.mkv", 44_100, "aac", None),
    ("a.mka", 48_000, "libopus", "matroska"),
    ("a.wma", 44_100, "wmav2", "asf"),
    ("a.mp2", 44_100, "mp2", None),
    ("a.amr", 8_000, "libopencore_amrnb", "amr"),
    ("a.3gp", 8_000, "libopencore_amrnb", "3gp"),
    ("pcm.mkv", 44_100, "pcm_s24le", "matroska"),
]


def check(decoder: WorkerDecoder, path: Path, *, rate_hz: int, library: str) -> None:
    file = audio_file(path)
    recording = decoder.decode(file, key=5)
    assert recording.key == 5
    assert recording.duration_s == pytest.approx(SECONDS, abs=0.25)
    assert len(recording.samples) == round(recording.duration_s * 16_000)
    assert recording.samples.dtype == np.float32
    assert not recording.samples.flags.writeable
    assert loudest_hz(recording.samples) == pytest.approx(TONE_HZ, abs=2)
    assert np.abs(recording.samples[8_000:-8_000]).max() == pytest.approx(0.5, abs=0.06)
    assert recording.info.warnings == ()
    assert recording.info.decoder.startswith(library)
    assert recording.info.source_rate_hz == rate_hz
    assert recording.info.source_channels == 1
    assert decoder.probe(file) == pytest.approx(SECONDS, abs=0.5)
    recording.close()


@pytest.mark.parametrize(("name", "rate_hz", "subtype"), SOUNDFILE)
def test_formats_read_by_libsndfile_are_decoded_completely(
    decoder: WorkerDecoder, tmp_path: Path, name: str, rate_hz: int, subtype: str | None
) -> None:
    path = write_with_soundfile(tmp_path / name, tone(rate_hz), rate_hz, subtype=subtype)
    check(decoder, path, rate_hz=rate_hz, library="soundfile")


@pytest.mark.parametrize(("name", "rate_hz", "codec", "container"), AV)
def test_formats_read_by_ffmpeg_are_decoded_completely(
    decoder: WorkerDecoder, tmp_path: Path, name: str, rate_hz: int, codec: str, container: str
) -> None:
    path = write_with_av(tmp_path / name, tone(rate_hz), rate_hz, codec=codec, container=container)
    check(decoder, path, rate_hz=rate_hz, library="av")


def test_the_format_is_detected_by_content_not_by_name(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    made = write_with_av(tmp_path / "a.m4a", tone(44_100), 44_100, codec="aac", container="ipod")
    check(decoder, made.rename(tmp_path / "a.wav"), rate_hz=44_100, library="av")


def test_stereo_becomes_the_mean_of_both_channels(decoder: WorkerDecoder, tmp_path: Path) -> None:
    both = np.stack([tone(16_000), np.zeros(48_000, np.float32)], axis=1)
    path = write_with_soundfile(tmp_path / "a.wav", both, 16_000, subtype="FLOAT")
    recording = decoder.decode(audio_file(path))
    np.testing.assert_allclose(recording.samples, tone(16_000) / 2, atol=1e-6)
    assert recording.info.source_channels == 2


def test_audio_at_the_target_rate_is_not_changed(decoder: WorkerDecoder, tmp_path: Path) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", tone(16_000), 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(decoder.decode(audio_file(path)).samples, tone(16_000))


def test_block_size_does_not_change_the_samples(tmp_path: Path) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", tone(44_100), 44_100)
    results = []
    for buffer_duration in (0.01, 10.0):
        with WorkerDecoder(AudioConfig(buffer_duration=buffer_duration)) as decoder:
            results.append(np.array(decoder.decode(audio_file(path)).samples))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def test_a_vbr_mp3_without_a_length_is_decoded_to_its_end(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    samples = np.concatenate([tone(44_100, seconds=1), np.zeros(44_100 * 9, np.float32)])
    samples[: 44_100 // 2] += np.random.default_rng(1).normal(0, 0.2, 44_100 // 2)
    path = write_with_av(
        tmp_path / "a.mp3",
        samples.astype(np.float32),
        44_100,
        codec="libmp3lame",
        container="mp3",
        options={"write_xing": "0"},
        global_quality=4 * 118,
    )
    recording = decoder.decode(audio_file(path))
    assert recording.duration_s == pytest.approx(10.0, abs=0.25)
    assert recording.info.warnings == ()


def test_two_concatenated_mp3_files_are_both_decoded(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = write_with_soundfile(tmp_path / "a.mp3", tone(44_100), 44_100)
    path.write_bytes(path.read_bytes() * 2)
    assert decoder.decode(audio_file(path)).duration_s == pytest.approx(2 * SECONDS, abs=0.25)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_whose_writer_could_not_seek_back_is_read_to_its_end(
    decoder: WorkerDecoder, tmp_path: Path, size: int
) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", tone(16_000), 16_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    recording = decoder.decode(audio_file(path))
    assert recording.duration_s == pytest.approx(SECONDS, abs=0.01)
    assert recording.info.warnings == ()


def test_a_flac_written_to_a_pipe_is_decoded_completely(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = write_with_soundfile(tmp_path / "a.flac", tone(44_100), 44_100)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: the 36 bits of the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    recording = decoder.decode(audio_file(path))
    assert recording.duration_s == pytest.approx(SECONDS, abs=0.01)
    assert recording.info.warnings == ()
    assert recording.info.declared_s is None


def test_a_header_without_audio_is_an_empty_recording(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    recording = decoder.decode(audio_file(path))
    assert recording.samples.shape == (0,)
    assert recording.duration_s == 0
    recording.close()
