"""The daemon is stopped and killed in the middle of a batch, and started again."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.end_to_end.conftest import Workspace, write_recording

pytestmark = [pytest.mark.timeout(2400)]

N_FILES = 24


def test_every_file_has_exactly_one_transcript_after_a_stop_and_a_kill(
    workspace: Workspace, background_processes: list[subprocess.Popen[str]]
):
    for n in range(N_FILES):
        write_recording(workspace.inbox / f"{n:02}.wav", seed=n, seconds=20.0)
    workspace.configure(
        engine={"engine_type": "standard", "model": str(workspace.model), "language": "en"}
    )

    for signal_number, n_done in ((signal.SIGTERM, 3), (signal.SIGKILL, 9)):
        daemon = workspace.start("run")
        background_processes.append(daemon)
        workspace.wait_for(
            lambda n_done=n_done: (
                workspace.query("SELECT count(*) FROM files WHERE state = 'DONE'")[0][0] >= n_done
            ),
            daemon,
        )
        daemon.send_signal(signal_number)
        daemon.communicate(timeout=300)
        assert daemon.returncode == (0 if signal_number is signal.SIGTERM else -signal.SIGKILL)
    n_before = workspace.query("SELECT count(*) FROM files WHERE state = 'DONE'")[0][0]
    done = workspace.run("once")

    assert 9 <= n_before < N_FILES  # the kill came in the middle of a batch
    assert done.returncode == 0, done.stderr
    assert set(workspace.states().values()) == {"DONE"}
    assert len(workspace.transcripts("txt")) == len(workspace.transcripts("json")) == N_FILES
    assert (
        sorted(
            p.name for p in workspace.inbox.iterdir() if p.suffix not in {".wav", ".txt", ".json"}
        )
        == []
    )
    statuses = [status for (status,) in workspace.query("SELECT status FROM runs")]
    assert statuses.count("INTERRUPTED") == 2
