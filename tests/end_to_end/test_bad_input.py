"""Files that people drop by mistake, and resources that a machine may lack."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from tests.end_to_end.conftest import Workspace, write_recording

pytestmark = [pytest.mark.timeout(2400)]


def write_silent_video(path: Path) -> None:
    """Write a video of ten gray frames without an audio track."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)


def test_bad_files_get_a_reason_and_good_ones_a_transcript(workspace: Workspace, tmp_path: Path):
    write_recording(workspace.inbox / "good.wav", seed=1)
    write_recording(workspace.inbox / "good too.flac", seed=2)
    (workspace.inbox / "text.wav").write_text("not a recording at all\n" * 50)
    (workspace.inbox / "empty.wav").touch()
    write_silent_video(workspace.inbox / "video.mp4")
    (workspace.inbox / "link.wav").symlink_to(write_recording(tmp_path / "outside.wav", seed=3))
    os.mkfifo(workspace.inbox / "pipe.wav")
    (workspace.inbox / "upload.wav.part").write_bytes(b"half")

    done = workspace.run("once")

    states = workspace.states()
    assert done.returncode == 1
    assert (states["good.wav"], states["good too.flac"]) == ("DONE", "DONE")
    assert (states["text.wav"], states["video.mp4"]) == ("RETRY", "RETRY")
    assert (states["link.wav"], states["pipe.wav"]) == ("REFUSED", "REFUSED")
    assert states["empty.wav"] == "SEEN"
    assert "upload.wav.part" not in states
    reasons = dict(
        workspace.query(
            "SELECT replace(path, rtrim(path, replace(path, '/', '')), ''), reason FROM files"
        )
    )
    assert "not a readable recording" in reasons["text.wav"]
    assert "no audio" in reasons["video.mp4"]
    assert "0 bytes" in reasons["empty.wav"]
    for name in ("text.wav", "video.mp4", "empty.wav"):
        assert name in done.stderr
    assert not (workspace.inbox / "link.txt").exists()

    status = workspace.run("status")
    assert "1 ignored (hidden or partial)" in " ".join(status.stdout.split())


def test_a_model_that_does_not_exist_is_named_on_screen_and_in_the_ledger(workspace: Workspace):
    write_recording(workspace.inbox / "a.wav", seed=1)
    workspace.configure(engine={"model": "no-such-org/no-such-whisper"})

    done = workspace.run("once")

    assert done.returncode == 69
    assert "no-such-org/no-such-whisper" in done.stderr
    assert "Traceback" not in done.stderr
    ((status, error),) = workspace.query("SELECT status, error FROM runs")
    assert status == "FAILED"
    assert "no-such-org/no-such-whisper" in error
    assert workspace.states() == {"a.wav": "SEEN"}


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root to mount a small disk"
)
def test_a_full_disk_loses_nothing(workspace: Workspace, tmp_path: Path):
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        for n in range(3):
            write_recording(disk / f"{n}.wav", seed=n, seconds=2.0)
        filler = disk / "filler"
        space = os.statvfs(disk)
        filler.write_bytes(b"x" * space.f_bavail * space.f_frsize)
        # without VAD every recording has a text; an empty transcript would fit on the full disk
        workspace.configure(inbox={"path": str(disk)}, engine={"vad": "off"})
        full = workspace.run("once")
        assert full.returncode == 1
        assert "the disk is full; free some space" in full.stderr
        assert set(workspace.states().values()) == {"RETRY"}
        assert list(disk.glob("*.txt")) == []

        filler.unlink()
        workspace.run("retry", "--all")
        done = workspace.run("once")
        assert done.returncode == 0, done.stderr
        assert len(list(disk.glob("*.txt"))) == 3
    finally:
        subprocess.run(["umount", str(disk)], check=False)
