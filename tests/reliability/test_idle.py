"""CPU time of an idle service, and the delay until it claims a new recording; needs a quiet machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.reliability.workspace import Workspace
from thoth_watch.infrastructure.inbox import FolderInbox

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200)]
SETTLE_S = 2.0  # the default
IDLE_S = 180.0  # three scans


@pytest.mark.parametrize("n_files", [10_000])
def test_an_idle_service_uses_almost_no_cpu_and_claims_a_new_recording_once_it_has_settled(
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

    print(f"idle: {used_s / IDLE_S:.2%} of a CPU; claimed after at most {max(waited_s):.2f} s")
    assert used_s / IDLE_S < 0.01
    assert max(waited_s) <= SETTLE_S + 1.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used so far."""
    process = psutil.Process(pid)
    processes = [process, *process.children(recursive=True)]
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)


def test_a_scan_of_a_hundred_thousand_recordings_takes_at_most_three_seconds(
    ram_folder: Path,
):
    for n in range(100_000):
        path = ram_folder / f"{n % 100}" / f"{n}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    begun_s = time.process_time()
    listing = FolderInbox(ram_folder).scan()
    took_s = time.process_time() - begun_s

    print(f"scan of 100,000 recordings: {took_s:.2f} s of CPU time")
    assert len(listing.files) == 100_000
    assert took_s <= 3.0
