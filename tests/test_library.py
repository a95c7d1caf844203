"""The Python API, `from thoth_watch import ...`, as shown in the README."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import thoth_watch
from tests.fakes import FakeVoiceActivityDetector
from tests.infrastructure.whisper.conftest import make_whisper, noise
from thoth_watch import TranscriptionEngineConfig, load_engine
from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.audio import AudioFile, AudioInfo
from thoth_watch.domain.decoding import GREEDY
from thoth_watch.domain.errors import FileGone, FileUnreadable, NotAudio, ThothError
from thoth_watch.infrastructure.whisper.window_transcriber import WindowTranscriber


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TranscriptionEngineConfig:
    model = make_whisper(tmp_path_factory.mktemp("model") / "tiny")
    return TranscriptionEngineConfig(
        engine_type="batch", model=str(model), device="cpu", language="en", precision="float32"
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    for name in ("one.wav", "two.flac"):
        soundfile.write(folder / name, 0.2 * random.standard_normal(16_000), 16_000)
    return [str(folder / "one.wav"), str(folder / "two.flac")]


class FakeDecoder:
    """Decode a file into one second of audio per byte."""

    def probe(self, file: AudioFile) -> float | None:
        return None

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        seconds = file.signature.size_bytes
        if not seconds:
            raise NotAudio("empty file")
        info = AudioInfo(None, float(seconds), 16_000, 1, "pcm", "test")
        return Recording(key, noise(seconds, key), f"{key:064x}", info)

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def library(config: TranscriptionEngineConfig) -> thoth_watch.BatchTranscriptionEngine:
    requested = replace(config, batch_size=2, language="de", precision="auto", decoding=GREEDY)
    return thoth_watch.BatchTranscriptionEngine(
        requested, decoder=FakeDecoder(), voice=FakeVoiceActivityDetector()
    )


def test_an_engine_transcribes_paths_in_the_order_given(
    config: TranscriptionEngineConfig, paths: list[str]
):
    engine = load_engine(config)
    forwards = engine.transcribe_batch(paths)
    backwards = engine.transcribe_batch(reversed(paths))

    assert [t.text for t in forwards] == [t.text for t in reversed(backwards)]
    assert [t.duration_s for t in forwards] == [1.0, 1.0]
    assert isinstance(engine, thoth_watch.BatchTranscriptionEngine)
    assert engine.get_device_info()["device"] == "cpu"


def test_the_three_classes_can_be_used_by_themselves(
    config: TranscriptionEngineConfig, paths: list[str]
):
    texts = {
        engine_class(config).transcribe_batch(paths)[0].text
        for engine_class in (
            thoth_watch.WhisperTranscriptionEngine,
            thoth_watch.AcceleratedWhisperTranscriptionEngine,
            thoth_watch.BatchTranscriptionEngine,
        )
    }

    assert len(texts) == 1


def test_silence_is_skipped_unless_vad_is_off(config: TranscriptionEngineConfig, tmp_path: Path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 16_000)
    engine = load_engine(config)

    skipped, transcribed = (
        engine.transcribe_batch([tmp_path / "silence.wav"], vad=vad)[0] for vad in ("auto", "off")
    )

    assert (skipped.skipped_s, skipped.verdict, skipped.text) == (3.0, "empty", "")
    assert (transcribed.skipped_s, transcribed.n_tokens > 0) == (0.0, True)
    with pytest.raises(ValueError, match="perhaps"):
        engine.transcribe_batch([tmp_path / "silence.wav"], vad="perhaps")


def test_a_file_that_cannot_be_read_is_named(config: TranscriptionEngineConfig, tmp_path: Path):
    with pytest.raises(thoth_watch.domain.errors.AudioError, match=r"nothing\.wav"):
        load_engine(config).transcribe_batch([tmp_path / "nothing.wav"])


def test_transcribe_batch_returns_transcripts_in_the_order_given(library, tmp_path):
    lengths = {"b.wav": 7, "a.wav": 1, "c.wav": 2}
    for name, length in lengths.items():
        (tmp_path / name).write_bytes(b"x" * length)

    transcripts = library.transcribe_batch(
        [tmp_path / "b.wav", str(tmp_path / "a.wav"), tmp_path / "c.wav"]
    )

    assert [t.duration_s for t in transcripts] == [7, 1, 2]
    assert {t.language for t in transcripts} == {"de"}
    assert library.transcribe_batch([]) == []


def test_transcribe_batch_names_the_file_that_cannot_be_read(library, tmp_path):
    (tmp_path / "empty.wav").touch()

    with pytest.raises(NotAudio, match=r"empty\.wav: empty file"):
        library.transcribe_batch([tmp_path / "empty.wav"])
    with pytest.raises(FileGone, match=r"gone\.wav: no such file"):
        library.transcribe_batch([tmp_path / "gone.wav"])
    with pytest.raises(NotAudio, match="not a plain file"):
        library.transcribe_batch([tmp_path])


def test_transcribe_batch_says_that_a_file_is_unreadable_and_not_gone(library, tmp_path):
    (tmp_path / "circle.wav").symlink_to("circle.wav")

    with pytest.raises(FileUnreadable, match=r"circle\.wav: the path cannot be resolved"):
        library.transcribe_batch([tmp_path / "circle.wav"])


def test_transcribe_batch_names_the_file_that_cannot_be_transcribed(library, tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"xx")

    def fail(*_):
        raise ValueError("bad")

    monkeypatch.setattr(WindowTranscriber, "transcribe", fail)
    with pytest.raises(ThothError, match=r"a\.wav: ValueError: bad"):
        library.transcribe_batch([tmp_path / "a.wav"])


def test_an_engine_without_a_decoder_uses_the_default_one(
    config: TranscriptionEngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(thoth_watch.library, "build_decoder", FakeDecoder)
    (tmp_path / "a.wav").write_bytes(b"xx")

    (transcript,) = load_engine(config).transcribe_batch([tmp_path / "a.wav"])

    assert transcript.duration_s == 2


def test_importing_the_package_loads_no_torch():
    code = "import sys, thoth_watch; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = thoth_watch.no_such_thing
