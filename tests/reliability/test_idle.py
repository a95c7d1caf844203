"""What waiting costs, and how soon a new recording is taken up; seconds are judged: for a quiet machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.reliability.workspace import Workspace
from thoth_watch.infrastructure.inbox import FolderInbox

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200)]
SETTLE_S = 2.0  # as by default
IDLE_S = 180.0  # three looks


@pytest.mark.parametrize("n_files", [10_000])
def test_waiting_beside_many_recordings_costs_nothing_and_a_new_one_is_taken_up_at_once(
    workspace: Workspace, n_files: int
):
    for n in range(n_files):
        workspace.drop(f"{n % 100}/{n}.wav", seed=n)
    workspace.configure(inbox={"settle_s": 0.1}, batch={"max_files": 1_000})
    assert workspace.run("once") == 0, workspace.log()
    workspace.configure(inbox={"settle_s": SETTLE_S, "rescan_s": 60.0})
    daemon = workspace.start("run")
    workspace.wait_for(lambda: workspace.log().count("engine loaded") == 2, daemon)
    time.sleep(2 * SETTLE_S)

    used_s = cpu_seconds(daemon.pid)
    time.sleep(IDLE_S)
    used_s = cpu_seconds(daemon.pid) - used_s

    waited_s = []
    for n in range(20):
        path = workspace.drop(f"new-{n}.wav", seed=n_files + n)
        dropped = datetime.now(UTC)
        workspace.wait_for(lambda n=n: workspace.count_files("DONE") == n_files + n + 1, daemon)
        ((claimed,),) = workspace.query(
            "SELECT at FROM transitions JOIN files ON file_id = files.id"
            f" WHERE path = '{path}' AND after = 'CLAIMED'"
        )
        waited_s.append((datetime.fromisoformat(claimed) - dropped).total_seconds())
    daemon.terminate()
    assert daemon.wait(60) == 0

    print(
        f"idle: {used_s / IDLE_S:.2%} of a processor; claimed after {max(waited_s):.2f} s at most"
    )
    assert used_s / IDLE_S < 0.01
    assert max(waited_s) <= SETTLE_S + 1.0


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process and its children so far."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(one.cpu_times().user + one.cpu_times().system for one in family)


def test_a_look_at_a_hundred_thousand_recordings_takes_no_more_than_three_seconds(
    ram_folder: Path,
):
    for n in range(100_000):
        path = ram_folder / f"{n % 100}" / f"{n}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    begun_s = time.process_time()
    listing = FolderInbox(ram_folder).scan()
    took_s = time.process_time() - begun_s

    print(f"a look at 100,000 recordings: {took_s:.2f} s of a processor")
    assert len(listing.files) == 100_000
    assert took_s <= 3.0
