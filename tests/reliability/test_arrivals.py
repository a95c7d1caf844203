"""A recording is transcribed once, completely and soon, in whatever way it arrives and is noticed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.arrivals import ARRIVAL_METHODS, SETTLE_S, Arrival
from tests.reliability.workspace import Workspace, write_recording

full = pytest.mark.reliability
RESCAN_S = 1.0


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("mode", "is_latency_checked"),
    [
        ("inotify", False),
        *(pytest.param(m, True, marks=full) for m in ("inotify", "polling", "no-events")),
    ],
)
def test_a_recording_is_read_once_and_only_after_its_writer_is_done(
    workspace: Workspace, mode: str, is_latency_checked: bool
):
    assert len(ARRIVAL_METHODS) == 25
    watcher = "polling" if mode == "polling" else "inotify"
    workspace.configure(
        inbox={"settle_s": SETTLE_S, "rescan_s": RESCAN_S, "watcher": watcher},
        batch={"max_files": 64},
    )
    daemon = workspace.start("run", WATCHER_BREAKS="no-events" if mode == "no-events" else "")
    workspace.wait_for(lambda: "engine loaded" in workspace.log(), daemon)
    arrivals = []
    for number, method in enumerate(ARRIVAL_METHODS):
        folder, outside = (
            workspace.inbox / method.__name__,
            workspace.folder / "outside" / method.__name__,
        )
        folder.mkdir()
        outside.mkdir(parents=True)
        text = write_recording(outside / "original", seed=number)
        content = (outside / "original").read_bytes()
        arrivals.append((method, Arrival(folder, content, outside), text))

    def arrive(entry: tuple[Any, Arrival, str]) -> tuple[Path, str, datetime]:
        method, arrival, text = entry
        return method(arrival), text, datetime.now(UTC)

    with ThreadPoolExecutor(len(arrivals)) as writers:
        arrived = list(writers.map(arrive, arrivals))
    workspace.wait_for(lambda: workspace.count_files("DONE") >= len(arrived), daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0

    states = {
        Path(os.fsdecode(p)): s
        for p, s in workspace.query("SELECT path_raw, state FROM files WHERE state != 'GONE'")
    }
    assert states == {path: "DONE" for path, _, _ in arrived}
    assert [p for p, text, _ in arrived if p.with_suffix(".txt").read_text() != text] == []
    claimed = transition_times(workspace, "CLAIMED")
    assert sorted(path for path, _ in claimed) == sorted(path for path, _, _ in arrived)
    if is_latency_checked:
        settled = dict(transition_times(workspace, "READY"))
        allowed = timedelta(seconds=SETTLE_S + 2 * RESCAN_S)
        late = {p: settled[p] - end for p, _, end in arrived if settled[p] - end > allowed}
        assert late == {}
    workspace.check_ledger()


def transition_times(workspace: Workspace, state: str) -> list[tuple[Path, datetime]]:
    """Return each file that entered the state, with its time, in time order."""
    rows = workspace.query(
        "SELECT path_raw, at FROM transitions JOIN files ON file_id = files.id"
        f" WHERE after = '{state}' ORDER BY transitions.id"
    )
    return [(Path(os.fsdecode(path)), datetime.fromisoformat(at)) for path, at in rows]
