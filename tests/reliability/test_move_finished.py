"""kill -9 at every point while finished recordings are moved: each ends up once, complete, with its row."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.workspace import Workspace

full = pytest.mark.reliability
N_FILES = 2


def make_workspace(folder: Path, archive: Path) -> Workspace:
    """Create a workspace that moves finished recordings to the archive."""
    shutil.rmtree(archive, ignore_errors=True)
    inbox = {"path": str(folder / "inbox"), "settle_s": 0.1, "after": str(archive)}
    workspace = Workspace(folder, inbox=inbox)
    for n in range(N_FILES):
        workspace.drop(f"{n}/{n}.wav", seed=n)
    return workspace


def list_failpoints(workspace: Workspace) -> list[str]:
    """Return all points from the first publication to the end as `name:number`."""
    trace = workspace.folder / "trace"
    assert workspace.run("once", FAILPOINT_TRACE=str(trace)) == 0, workspace.log()
    counts: Counter[str] = Counter()
    points = []
    for name in trace.read_text().split():
        counts[name] += 1
        if name.startswith(("mover.", "ledger.")) or (name.startswith("publish_steps.") and points):
            points.append(f"{name}:{counts[name]}")
    assert any(name.startswith("mover.") for name in points)
    return points


def check_archive(workspace: Workspace, archive: Path) -> None:
    """Check that each recording is DONE in the archive and its transcript in the inbox, and nothing else exists."""
    moved = {
        archive / path.relative_to(workspace.inbox): text
        for path, text in workspace.expected.items()
    }
    rows = workspace.query("SELECT path_raw, state FROM files")
    assert {Path(os.fsdecode(path)): state for path, state in rows} == dict.fromkeys(moved, "DONE")
    assert {path for path in archive.rglob("*") if path.is_file()} == set(moved)
    transcripts = {path.with_suffix(".txt"): text for path, text in workspace.expected.items()}
    assert {
        path: path.read_text() for path in workspace.inbox.rglob("*") if path.is_file()
    } == transcripts
    workspace.check_ledger()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_points", [3, pytest.param(None, marks=full)])
@pytest.mark.parametrize("move_method", ["renamed", "copied"])
def test_a_move_killed_at_any_point_is_completed_by_the_next_run(
    ram_folder: Path, tmp_path: Path, move_method: str, n_points: int | None
):
    archive = (ram_folder if move_method == "renamed" else tmp_path) / "archive"
    if move_method == "copied" and ram_folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    first = make_workspace(ram_folder / "first", archive)
    points = list_failpoints(first)
    check_archive(first, archive)
    contents = {path.name: path.read_bytes() for path in archive.rglob("*.wav")}
    if n_points is not None:
        points = random.Random(move_method).sample(
            [p for p in points if p.startswith("mover.")], n_points
        )
    n_killed = 0

    for number, point in enumerate(points):
        workspace = make_workspace(ram_folder / f"{number}", archive)
        n_killed += workspace.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL
        assert workspace.run("once") == 0, (point, workspace.log())
        check_archive(workspace, archive)
        assert {path.name: path.read_bytes() for path in archive.rglob("*.wav")} == contents, point
        shutil.rmtree(workspace.folder)

    assert n_killed >= len(points) * 4 // 5
