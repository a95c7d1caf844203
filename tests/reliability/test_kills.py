"""kill -9 at every point and at random times: each recording gets its transcript, once and complete."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.workspace import Workspace

full = pytest.mark.reliability
# everything that writes; kills at random times cover the reads
FAILPOINT_PREFIXES = ("ledger.", "publish_steps.", "publisher.")


def list_failpoints_in_copy(workspace: Workspace) -> list[str]:
    """Return all points that a run in a copy of the workspace reaches."""
    copy = Workspace(
        workspace.folder.parent / "traced",
        inbox={"path": str(workspace.folder.parent / "traced/inbox")},
    )
    shutil.rmtree(copy.inbox)
    shutil.copytree(workspace.inbox, copy.inbox, symlinks=True)
    copy.expected = {
        copy.inbox / p.relative_to(workspace.inbox): t for p, t in workspace.expected.items()
    }
    points = list_failpoints(copy, FAILPOINT_PREFIXES)
    shutil.rmtree(copy.folder)
    return points


def list_failpoints(workspace: Workspace, prefixes: tuple[str, ...]) -> list[str]:
    """Run the program to its end; return the points with those prefixes as `name:number`."""
    trace = workspace.folder / "trace"
    assert workspace.run("once", FAILPOINT_TRACE=str(trace)) == 0, workspace.log()
    counts: Counter[str] = Counter()
    points = []
    for name in trace.read_text().split():
        counts[name] += 1
        if name.startswith(prefixes):
            points.append(f"{name}:{counts[name]}")
    return points


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("n_files", "n_points"),
    [(1, 1), (3, 2), pytest.param(1, None, marks=full), pytest.param(3, None, marks=full)],
)
def test_a_run_killed_at_any_point_is_completed_by_the_next(
    ram_folder: Path, n_files: int, n_points: int | None
):
    first = Workspace(ram_folder / "first")
    for n in range(n_files):
        first.drop(f"{n}.wav", seed=n)
    points = list_failpoints_in_copy(first)
    if n_points is not None:
        points = random.Random(n_files).sample(points, n_points)
    missed = []

    for number, point in enumerate(points):
        workspace = Workspace(ram_folder / f"{number}")
        for n in range(n_files):
            workspace.drop(f"{n}.wav", seed=n)
        if workspace.run("once", FAILPOINT=f"{point}:kill") != -signal.SIGKILL:
            missed.append(point)  # with threads, the number of points differs between runs
        assert workspace.run("once") == 0, (point, workspace.log())
        workspace.check_nothing_is_lost()
        shutil.rmtree(workspace.folder)

    assert len(missed) <= len(points) // 5, missed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_points", [1, pytest.param(None, marks=full)])
def test_a_second_kill_during_recovery_from_the_first_loses_nothing(
    ram_folder: Path, n_points: int | None
):
    """The first kill comes after the transcript has its name and before the folder is on disk."""

    def make_killed_workspace(folder: Path) -> Workspace:
        workspace = Workspace(folder)
        for n in range(3):
            workspace.drop(f"{n}.wav", seed=n)
        assert workspace.run("once", FAILPOINT="publish_steps.fsync:4:kill") == -signal.SIGKILL, (
            workspace.log()
        )
        return workspace

    points = list_failpoints(make_killed_workspace(ram_folder / "traced-run"), FAILPOINT_PREFIXES)
    if n_points is not None:
        points = random.Random(1).sample(points, n_points)

    n_killed = 0
    for number, point in enumerate(points):
        workspace = make_killed_workspace(ram_folder / f"{number}")
        n_killed += workspace.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL
        assert workspace.run("once") == 0, (point, workspace.log())
        workspace.check_nothing_is_lost()
        shutil.rmtree(workspace.folder)

    assert n_killed >= len(points) * 4 // 5


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_points", [1, pytest.param(None, marks=full)])
def test_a_kill_while_an_older_transcript_is_replaced_leaves_nothing_behind(
    ram_folder: Path, n_points: int | None
):
    """The old and the new file are exchanged; a temporary file that a kill leaves is deleted an hour later."""

    def make_changed_workspace(folder: Path) -> Workspace:
        workspace = Workspace(folder)
        workspace.drop("a.wav", seed=1)
        assert workspace.run("once") == 0
        workspace.drop("a.wav", seed=2)
        return workspace

    points = list_failpoints(
        make_changed_workspace(ram_folder / "traced-run"), ("publish_steps.", "publisher.")
    )
    if n_points is not None:
        points = [next(point for point in points if point.startswith("publisher.unlink"))]
    n_left = 0
    for number, point in enumerate(points):
        workspace = make_changed_workspace(ram_folder / f"{number}")
        assert workspace.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL, (
            point,
            workspace.log(),
        )
        n_left += any(path.suffix == ".tmp" for path in workspace.inbox.iterdir())
        assert workspace.run("once") == 0, (point, workspace.log())
        workspace.drop("b.wav", seed=3)
        assert workspace.run("once", LEFTOVERS_AGE_S="0") == 0, (point, workspace.log())
        workspace.check_nothing_is_lost()
        shutil.rmtree(workspace.folder)

    assert n_left > 0


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "n_cycles",
    [3, pytest.param(200, marks=full), pytest.param(2_000, marks=pytest.mark.nightly)],
)
def test_a_daemon_killed_at_any_time_while_files_arrive_loses_none(
    workspace: Workspace, n_cycles: int
):
    rng = random.Random(n_cycles)
    n_dropped = 0
    for _ in range(n_cycles):
        daemon = workspace.start("run", ENGINE_TAKES_S="0.01")
        end = time.monotonic() + rng.uniform(0.6, 2.6)  # it starts to work after about a second
        while time.monotonic() < end:
            if n_dropped < 8 * n_cycles:
                workspace.drop(f"{n_dropped % 7}/{n_dropped}.wav", seed=n_dropped)
                n_dropped += 1
            time.sleep(0.05)
        daemon.kill()
        assert daemon.wait() == -signal.SIGKILL, workspace.log()

    workspace.configure(batch={"max_files": 64})
    assert workspace.run("once") == 0, workspace.log()
    workspace.check_nothing_is_lost()
    assert n_dropped > 5 * n_cycles
