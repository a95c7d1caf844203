"""The Python API, `from thoth_watch import ...`, as shown in the README."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import thoth_watch
from tests.infrastructure.whisper.conftest import make_whisper
from thoth_watch import TranscriptionEngineConfig, load_engine


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


def test_importing_the_package_loads_no_torch():
    code = "import sys, thoth_watch; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = thoth_watch.no_such_thing
