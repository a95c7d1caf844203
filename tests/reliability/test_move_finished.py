"""kill -9 at every point while finished recordings are moved: each lies in one place, whole, with its row."""

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
    """An inbox whose recordings are to go to another folder."""
    shutil.rmtree(archive, ignore_errors=True)
    inbox = {"path": str(folder / "inbox"), "settle_s": 0.1, "after": str(archive)}
    workspace = Workspace(folder, inbox=inbox)
    for n in range(N_FILES):
        workspace.drop(f"{n}/{n}.wav", seed=n)
    return workspace


def list_failpoints(workspace: Workspace) -> list[str]:
    """All points from the first publication to the end, as `name:number`."""
    trace = workspace.folder / "trace"
    assert workspace.run("once", FAILPOINT_TRACE=str(trace)) == 0, workspace.log()
    counts: Counter[str] = Counter()
    found = []
    for name in trace.read_text().split():
        counts[name] += 1
        if name.startswith(("mover.", "ledger.")) or (name.startswith("publish_steps.") and found):
            found.append(f"{name}:{counts[name]}")
    assert any(name.startswith("mover.") for name in found)
    return found


def check_archive(workspace: Workspace, archive: Path) -> None:
    """Every recording DONE where it is to be, its transcript beside where it was; nothing else."""
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
def test_a_kill_at_any_point_of_a_move_is_made_up_for(
    ram_folder: Path, tmp_path: Path, move_method: str, n_points: int | None
):
    archive = (ram_folder if move_method == "renamed" else tmp_path) / "archive"
    if move_method == "copied" and ram_folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    first = make_workspace(ram_folder / "first", archive)
    found = list_failpoints(first)
    check_archive(first, archive)
    sounds = {path.name: path.read_bytes() for path in archive.rglob("*.wav")}
    if n_points is not None:
        found = random.Random(move_method).sample(
            [p for p in found if p.startswith("mover.")], n_points
        )
    n_killed = 0

    for number, point in enumerate(found):
        workspace = make_workspace(ram_folder / f"{number}", archive)
        n_killed += workspace.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL
        assert workspace.run("once") == 0, (point, workspace.log())
        check_archive(workspace, archive)
        assert {path.name: path.read_bytes() for path in archive.rglob("*.wav")} == sounds, point
        shutil.rmtree(workspace.folder)

    assert n_killed >= len(found) * 4 // 5
