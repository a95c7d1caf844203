"""Forty recordings in eight formats, dropped in the ways that people drop files."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import soundfile

from tests.end_to_end.conftest import Workspace, write_recording

pytestmark = [pytest.mark.timeout(2400)]

SUFFIXES = ("wav", "flac", "ogg", "oga", "opus", "mp3", "aiff", "caf")
FOLDERS = ("a", "a/b", "a/b/c")
N_FILES = 40


def write_recordings(folder: Path) -> list[Path]:
    """Write forty recordings to three nested folders, in eight formats in turn."""
    return [
        write_recording(
            folder / FOLDERS[n % 3] / f"{n:02}.{SUFFIXES[n % 8]}", seed=n, seconds=0.8 + n % 5 * 0.5
        )
        for n in range(N_FILES)
    ]


def check_everything(workspace: Workspace, max_files: int = 16) -> None:
    assert workspace.query("SELECT DISTINCT state FROM files") == [("DONE",)]
    assert len(workspace.transcripts("txt")) == len(workspace.transcripts("json")) == N_FILES
    (n_runs,) = workspace.query("SELECT count(*) FROM runs")[0]
    assert n_runs <= math.ceil(N_FILES / max_files) + 4
    assert (
        workspace.query("SELECT file_id FROM run_files GROUP BY file_id HAVING count(*) > 1") == []
    )
    for transcript in workspace.transcripts("json"):
        document = json.loads(transcript.read_text())
        source = next(
            p
            for p in transcript.parent.iterdir()
            if p.stem == transcript.stem and p.suffix[1:] in SUFFIXES
        )
        samples, rate = soundfile.read(source)
        assert document["duration"] == pytest.approx(len(samples) / rate, abs=0.25)
    (run,) = workspace.query(
        "SELECT device, precision, engine, realtime_factor > 0 FROM runs LIMIT 1"
    )
    assert run[0] == "cpu"
    assert run[2:] == ("batch", 1)


def copy_with_pause(source: Path, target: Path) -> None:
    """Write half of the file, pause for longer than `settle_s`, and write the rest."""
    content = source.read_bytes()
    with target.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(2.5)
        file.write(content[len(content) // 2 :])


def test_forty_files_dropped_while_the_daemon_runs(
    workspace: Workspace, tmp_path: Path, background_processes: list[subprocess.Popen[str]]
):
    sources = write_recordings(tmp_path / "elsewhere")
    daemon = workspace.start("run")
    background_processes.append(daemon)
    workspace.wait_for(lambda: True, daemon)
    for folder in FOLDERS:
        (workspace.inbox / folder).mkdir()
    slow = sources.pop(7)
    for n, source in enumerate(sources):
        target = workspace.inbox / source.relative_to(tmp_path / "elsewhere")
        (shutil.copy if n % 2 else shutil.move)(source, target)
    copy_with_pause(slow, workspace.inbox / slow.relative_to(tmp_path / "elsewhere"))

    workspace.wait_for(
        lambda: workspace.query("SELECT count(*) FROM files WHERE state = 'DONE'") == [(N_FILES,)],
        daemon,
    )
    daemon.terminate()
    _, err = daemon.communicate(timeout=300)

    assert daemon.returncode == 0, err
    check_everything(workspace)


def test_once_drains_forty_files_that_were_there_before(workspace: Workspace):
    write_recordings(workspace.inbox)

    done = workspace.run("once")

    assert done.returncode == 0, done.stderr
    check_everything(workspace)
    again = workspace.run("once")
    assert again.returncode == 0, again.stderr
    assert len(workspace.transcripts("txt")) == N_FILES
