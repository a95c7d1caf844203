"""Tests of the adapter with a fake of pyannote.audio, and with the package itself if installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.infrastructure.speakers import untrained_pipeline
from tests.infrastructure.speakers.fake_pyannote import install, make_pipeline
from thoth_watch.domain.errors import EXIT_CONFIG, ConfigError, DiarizationFailed
from thoth_watch.domain.speakers import DiarizationConfig, Turn
from thoth_watch.infrastructure.speakers import PyannoteDiarization, require_package

RATE = 16_000
is_installed = importlib.util.find_spec("pyannote") is not None


def make_noise(*loudness: float) -> np.ndarray:
    """Return one second of noise per loudness; read-only, like decoded recordings."""
    rng = np.random.default_rng(1)
    samples = np.concatenate([x * rng.uniform(-1, 1, RATE) for x in loudness]).astype(np.float32)
    samples.flags.writeable = False
    return samples


def forget_package() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pyannote"]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the fake in place of pyannote.audio."""
    forget_package()
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    monkeypatch.delenv("PYANNOTE_METRICS_ENABLED", raising=False)
    yield
    forget_package()


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pyannote\.audio.*pip install 'thoth-watch\[diarize\]'"):
        require_package()


@pytest.mark.usefixtures("package")
def test_turns_of_one_speaker_at_a_time_are_returned_in_time_order(tmp_path: Path) -> None:
    model = make_pipeline(tmp_path / "pipeline")
    diarization = PyannoteDiarization(DiarizationConfig(model=str(model)))

    turns = diarization.diarize(make_noise(0.9, 0.1, 0.0, 0.9))

    assert turns == (
        Turn(0.0, 1.0, "SPEAKER_01"),
        Turn(1.0, 2.0, "SPEAKER_00"),
        Turn(3.0, 4.0, "SPEAKER_01"),
    )
    assert diarization.diarize(make_noise(0.0)) == ()
    assert diarization.diarize(np.zeros(0, np.float32)) == ()


@pytest.mark.usefixtures("package")
def test_the_annotation_of_an_older_pipeline_is_read(tmp_path: Path) -> None:
    model = make_pipeline(tmp_path / "pipeline", "legacy")
    diarization = PyannoteDiarization(DiarizationConfig(model=str(model)))

    assert [turn.speaker for turn in diarization.diarize(make_noise(0.1, 0.9))] == [
        "SPEAKER_00",
        "SPEAKER_01",
    ]
    assert diarization.diarize(make_noise(0.0)) == ()


@pytest.mark.usefixtures("package")
def test_only_speaker_bounds_that_are_set_are_passed_to_the_pipeline(tmp_path: Path) -> None:
    config = DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline")))
    for min_speakers, max_speakers in ((None, None), (2, None), (2, 5)):
        bounded = replace(config, min_speakers=min_speakers, max_speakers=max_speakers)
        PyannoteDiarization(bounded).diarize(make_noise(0.5))

    from pyannote.audio import Pipeline

    assert Pipeline.calls == [(None, None), (2, None), (2, 5)]


@pytest.mark.usefixtures("package")
def test_name_and_fingerprint_cover_model_version_and_bounds(tmp_path: Path) -> None:
    config = DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline")))
    first, same = PyannoteDiarization(config), PyannoteDiarization(config)
    (tmp_path / "pipeline/weights.bin").write_bytes(b"other")
    changed = PyannoteDiarization(config)

    assert first.name.startswith(f"{config.model}@sha256:")
    assert first.name.endswith("(pyannote.audio 4.0.7)")
    bounded = PyannoteDiarization(replace(config, max_speakers=2))
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, changed.fingerprint, bounded.fingerprint}) == 3


@pytest.mark.usefixtures("package")
def test_a_missing_device_falls_back_to_the_cpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline")))

    diarization = PyannoteDiarization(config, device="cuda:7")

    assert diarization.diarize(make_noise(0.5))
    assert [record.event for record in caplog.records] == ["fallback"]


@pytest.mark.usefixtures("package")
def test_usage_telemetry_is_disabled(tmp_path: Path) -> None:
    PyannoteDiarization(DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline"))))

    from pyannote import audio

    assert audio.TELEMETRY == "0"


@pytest.mark.usefixtures("package")
def test_an_error_of_the_pipeline_fails_the_recording(tmp_path: Path) -> None:
    model = make_pipeline(tmp_path / "pipeline", "broken")
    diarization = PyannoteDiarization(DiarizationConfig(model=str(model)))

    with pytest.raises(DiarizationFailed, match="diarization failed: RuntimeError: no clusters"):
        diarization.diarize(make_noise(0.5))


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("model", "fix"),
    [
        ("some/pipeline", "https://huggingface.co/some/pipeline and set HF_TOKEN"),
        ("/no/such/folder", "must be a folder with a pipeline of pyannote.audio: config.yaml"),
    ],
)
def test_an_unavailable_pipeline_is_an_error_that_names_the_fix(
    model: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="403 Client Error") as error:
        PyannoteDiarization(DiarizationConfig(model=model))

    assert model in str(error.value)
    assert fix in str(error.value)
    assert error.value.exit_code == EXIT_CONFIG
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not is_installed, reason="needs the diarize extra")
def test_the_real_package_accepts_the_adapters_calls(tmp_path: Path) -> None:
    model = untrained_pipeline.make_pipeline(tmp_path / "pipeline")

    diarization = PyannoteDiarization(DiarizationConfig(model=str(model), max_speakers=3))
    turns = diarization.diarize(make_noise(*[0.9, 0.1, 0.5] * 8))

    assert turns
    assert all(0.0 <= turn.start < turn.end < 31 for turn in turns)
    assert {turn.speaker[:8] for turn in turns} == {"SPEAKER_"}
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    with pytest.raises(ConfigError, match="must be a folder with a pipeline"):
        PyannoteDiarization(DiarizationConfig(model=str(tmp_path / "nothing")))
