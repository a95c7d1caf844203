"""Command lines of openai/whisper with only the program's name changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import write_recording
from tests.infrastructure.whisper.conftest import make_whisper
from thoth_watch.domain import errors

FORMATS = ("txt", "vtt", "srt", "tsv", "json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("model") / "tiny")


def whisper(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thoth_watch", "transcribe", *line.split()]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_twelve_common_flags_produce_files_with_the_same_names_and_formats(
    tmp_path: Path, tiny: Path
):
    for number, name in enumerate(("talk.wav", "two words.mp3")):
        write_recording(tmp_path / name.replace(" ", "-"), seed=number)
    line = (
        f"talk.wav two-words.mp3 --model {tiny} --language English --task transcribe"
        " --output_dir out --output_format all --device cpu --fp16 False --verbose False"
        " --vad_filter False --beam_size 5 --temperature 0 --word_timestamps True"
    )
    assert line.count(" --") == 12

    done = whisper(tmp_path, line)

    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{stem}.{f}" for stem in ("talk", "two-words") for f in FORMATS}
    transcript = json.loads((tmp_path / "out/talk.json").read_text())
    assert {"text", "segments", "language"} <= set(transcript)
    assert (tmp_path / "out/talk.vtt").read_text().startswith("WEBVTT\n")
    assert (tmp_path / "out/talk.tsv").read_text().startswith("start\tend\ttext\n")
    assert "no effect" not in done.stderr
    assert any(segment.get("words") for segment in transcript["segments"])


def test_flags_can_be_spelled_with_hyphens(tmp_path: Path, tiny: Path):
    write_recording(tmp_path / "talk.wav", seed=1)
    line = (
        f"talk.wav --model {tiny} --output-dir out --output-format srt --compute-type int8_float32"
    )

    done = whisper(
        tmp_path, f"{line} --device cpu --initial-prompt names --num_workers 2 --vad-filter False"
    )

    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.srt"]
    assert "--num_workers: no effect here" in done.stderr


def test_an_unknown_flag_is_a_usage_error(tmp_path: Path):
    done = whisper(tmp_path, "talk.wav --no_such_flag 1")
    assert done.returncode == errors.EXIT_USAGE
    assert "--no_such_flag" in done.stderr


def test_a_failed_file_sets_the_exit_code(tmp_path: Path, tiny: Path):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    done = whisper(tmp_path, f"bad.wav --model {tiny} --device cpu --fp16 False")
    assert done.returncode == errors.EXIT_SOME_FAILED
    assert "bad.wav" in done.stderr
