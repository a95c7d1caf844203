"""The adapter against what pyannote.audio documents; against the package itself where it is installed."""

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


def talk(*loudness: float) -> np.ndarray:
    """A second of noise for each loudness; read-only, as decoded recordings are."""
    rng = np.random.default_rng(1)
    samples = np.concatenate([x * rng.uniform(-1, 1, RATE) for x in loudness]).astype(np.float32)
    samples.flags.writeable = False
    return samples


def forget_package() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pyannote"]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in, in the place of pyannote.audio."""
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
def test_it_says_who_speaks_when_one_at_a_time(tmp_path: Path) -> None:
    model = make_pipeline(tmp_path / "pipeline")
    diarization = PyannoteDiarization(DiarizationConfig(model=str(model)))

    turns = diarization.diarize(talk(0.9, 0.1, 0.0, 0.9))

    assert turns == (
        Turn(0.0, 1.0, "SPEAKER_01"),
        Turn(1.0, 2.0, "SPEAKER_00"),
        Turn(3.0, 4.0, "SPEAKER_01"),
    )
    assert diarization.diarize(talk(0.0)) == ()
    assert diarization.diarize(np.zeros(0, np.float32)) == ()


@pytest.mark.usefixtures("package")
def test_pipelines_of_older_versions_give_an_annotation(tmp_path: Path) -> None:
    model = make_pipeline(tmp_path / "pipeline", "legacy")
    diarization = PyannoteDiarization(DiarizationConfig(model=str(model)))

    assert [turn.speaker for turn in diarization.diarize(talk(0.1, 0.9))] == [
        "SPEAKER_00",
        "SPEAKER_01",
    ]
    assert diarization.diarize(talk(0.0)) == ()


@pytest.mark.usefixtures("package")
def test_it_is_told_of_the_bounds_that_are_set(tmp_path: Path) -> None:
    config = DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline")))
    for least, most in ((None, None), (2, None), (2, 5)):
        bounded = replace(config, min_speakers=least, max_speakers=most)
        PyannoteDiarization(bounded).diarize(talk(0.5))

    from pyannote.audio import Pipeline

    assert Pipeline.calls == [(None, None), (2, None), (2, 5)]


@pytest.mark.usefixtures("package")
def test_its_name_and_fingerprint_tell_what_decides_the_names(tmp_path: Path) -> None:
    config = DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline")))
    one, same = PyannoteDiarization(config), PyannoteDiarization(config)
    (tmp_path / "pipeline/weights.bin").write_bytes(b"others")
    other = PyannoteDiarization(config)

    assert one.name.startswith(f"{config.model}@sha256:")
    assert one.name.endswith("(pyannote.audio 4.0.7)")
    bounded = PyannoteDiarization(replace(config, max_speakers=2))
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other.fingerprint, bounded.fingerprint}) == 3


@pytest.mark.usefixtures("package")
def test_the_cpu_stands_in_for_a_device_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline")))

    diarization = PyannoteDiarization(config, device="cuda:7")

    assert diarization.diarize(talk(0.5))
    assert [record.event for record in caplog.records] == ["fallback"]


@pytest.mark.usefixtures("package")
def test_nobody_is_told_that_it_is_used(tmp_path: Path) -> None:
    PyannoteDiarization(DiarizationConfig(model=str(make_pipeline(tmp_path / "pipeline"))))

    from pyannote import audio

    assert audio.TELEMETRY == "0"


@pytest.mark.usefixtures("package")
def test_what_it_stumbles_over_is_said_of_the_recording(tmp_path: Path) -> None:
    model = make_pipeline(tmp_path / "pipeline", "broken")
    diarization = PyannoteDiarization(DiarizationConfig(model=str(model)))

    with pytest.raises(DiarizationFailed, match="told apart: RuntimeError: no clusters"):
        diarization.diarize(talk(0.5))


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("model", "cure"),
    [
        ("some/pipeline", "https://huggingface.co/some/pipeline and set HF_TOKEN"),
        ("/no/such/folder", "must be a folder with a pipeline of pyannote.audio: config.yaml"),
    ],
)
def test_a_pipeline_that_cannot_be_had_is_named_with_its_cure(
    model: str, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="403 Client Error") as error:
        PyannoteDiarization(DiarizationConfig(model=model))

    assert model in str(error.value)
    assert cure in str(error.value)
    assert error.value.exit_code == EXIT_CONFIG
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not is_installed, reason="needs the extra diarize")
def test_the_package_itself_is_called_as_it_wants_to_be(tmp_path: Path) -> None:
    model = untrained_pipeline.make_pipeline(tmp_path / "pipeline")

    diarization = PyannoteDiarization(DiarizationConfig(model=str(model), max_speakers=3))
    turns = diarization.diarize(talk(*[0.9, 0.1, 0.5] * 8))

    assert turns
    assert all(0.0 <= turn.start < turn.end < 31 for turn in turns)
    assert {turn.speaker[:8] for turn in turns} == {"SPEAKER_"}
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    with pytest.raises(ConfigError, match="must be a folder with a pipeline"):
        PyannoteDiarization(DiarizationConfig(model=str(tmp_path / "nothing")))
