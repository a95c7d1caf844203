"""Stopped and killed in the middle of a batch, and started again."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.end_to_end.conftest import Place, write

pytestmark = [pytest.mark.timeout(2400)]

N_FILES = 24


def test_every_file_has_exactly_one_transcript_after_a_stop_and_a_kill(
    place: Place, ended: list[subprocess.Popen[str]]
):
    for n in range(N_FILES):
        write(place.inbox / f"{n:02}.wav", seed=n, seconds=20.0)
    place.configure(engine={"engine_type": "standard", "model": str(place.model), "language": "en"})

    for number, n_done in ((signal.SIGTERM, 3), (signal.SIGKILL, 9)):
        daemon = place.start("run")
        ended.append(daemon)
        place.wait_for(
            lambda enough=n_done: (
                place.query("SELECT count(*) FROM files WHERE state = 'DONE'")[0][0] >= enough
            ),
            daemon,
        )
        daemon.send_signal(number)
        daemon.communicate(timeout=300)
        assert daemon.returncode == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    n_before = place.query("SELECT count(*) FROM files WHERE state = 'DONE'")[0][0]
    done = place.run("once")

    assert 9 <= n_before < N_FILES  # it was the middle of a batch
    assert done.returncode == 0, done.stderr
    assert set(place.states().values()) == {"DONE"}
    assert len(place.transcripts("txt")) == len(place.transcripts("json")) == N_FILES
    assert (
        sorted(p.name for p in place.inbox.iterdir() if p.suffix not in {".wav", ".txt", ".json"})
        == []
    )
    statuses = [status for (status,) in place.query("SELECT status FROM runs")]
    assert statuses.count("INTERRUPTED") == 2
