"""Diarization from the command line, with a fake pyannote.audio on the path, and without it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import write_recording
from tests.infrastructure.speakers.fake_pyannote import install, make_pipeline
from tests.infrastructure.whisper.conftest import make_whisper
from thoth_watch.bootstrap import SAMPLES
from thoth_watch.domain import errors


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("model") / "tiny")


def thoth_watch(folder: Path, line: str, *, site: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.run(
        [sys.executable, "-m", "thoth_watch", *line.split()],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.words
def test_whisperx_flags_label_the_speakers_in_every_format(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "00.wav", tmp_path / "talk.wav")
    make_pipeline(tmp_path / "pipeline")

    done = thoth_watch(
        tmp_path,
        "transcribe talk.wav --model builtin --language en --device cpu -f all"
        " --diarize --diarize_model ./pipeline --min_speakers 1 --max_speakers 2 --hf_token hf_no"
        " --temperature 0 --temperature_increment_on_fallback 0 --word_timestamps True",
        site=install(tmp_path / "site"),
    )

    assert done.returncode == 0, done.stderr
    assert "no effect" not in done.stderr
    transcript = json.loads((tmp_path / "talk.json").read_text())
    (speaker,) = {segment["speaker"] for segment in transcript["segments"]}
    assert speaker in {"SPEAKER_00", "SPEAKER_01"}
    assert any("speaker" in word for segment in transcript["segments"] for word in segment["words"])
    assert transcript["thoth_watch"]["diarization"].startswith(f"{tmp_path}/pipeline@sha256:")
    for name in ("txt", "srt", "vtt"):
        assert f"[{speaker}]: " in (tmp_path / f"talk.{name}").read_text()


def test_without_the_package_nothing_is_transcribed(tmp_path: Path, tiny: Path) -> None:
    empty = tmp_path / "site/pyannote"  # hides the package if it is installed
    empty.mkdir(parents=True)
    (empty / "__init__.py").touch()
    write_recording(tmp_path / "inbox/talk.wav", seed=1)
    (tmp_path / "config.yaml").write_text(
        f"engine: {{model: '{tiny}', device: cpu}}\ninbox: {{settle_s: 0}}\n"
        "rules: [{match: 'meetings/**', diarize: true}]\n"
    )
    for command in ("once", "transcribe inbox/talk.wav --diarize", "check"):
        done = thoth_watch(tmp_path, command, site=tmp_path / "site")

        assert done.returncode == errors.EXIT_CONFIG, command
        output = done.stderr + done.stdout
        assert "pip install 'thoth-watch[diarize]'" in output
        assert "pyannote.audio" in output
        assert {path.name for path in (tmp_path / "inbox").iterdir()} == {"talk.wav"}
