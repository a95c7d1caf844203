"""kill -9 at every point while finished recordings are moved: each lies in one place, whole, with its row."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.place import Place

full = pytest.mark.reliability
N_FILES = 2


def a_place(folder: Path, archive: Path) -> Place:
    """An inbox whose recordings are to go to another folder."""
    shutil.rmtree(archive, ignore_errors=True)
    inbox = {"path": str(folder / "inbox"), "settle_s": 0.1, "after": str(archive)}
    place = Place(folder, inbox=inbox)
    for n in range(N_FILES):
        place.drop(f"{n}/{n}.wav", seed=n)
    return place


def points(place: Place) -> list[str]:
    """All points from the first publication to the end, as `name:number`."""
    trace = place.folder / "trace"
    assert place.run("once", FAILPOINT_TRACE=str(trace)) == 0, place.log()
    counts: Counter[str] = Counter()
    found = []
    for name in trace.read_text().split():
        counts[name] += 1
        if name.startswith(("mover.", "ledger.")) or (name.startswith("publish_steps.") and found):
            found.append(f"{name}:{counts[name]}")
    assert any(name.startswith("mover.") for name in found)
    return found


def check(place: Place, archive: Path) -> None:
    """Every recording DONE where it is to be, its transcript beside where it was; nothing else."""
    moved = {archive / path.relative_to(place.inbox): text for path, text in place.expected.items()}
    rows = place.query("SELECT path_raw, state FROM files")
    assert {Path(os.fsdecode(path)): state for path, state in rows} == dict.fromkeys(moved, "DONE")
    assert {path for path in archive.rglob("*") if path.is_file()} == set(moved)
    transcripts = {path.with_suffix(".txt"): text for path, text in place.expected.items()}
    assert {
        path: path.read_text() for path in place.inbox.rglob("*") if path.is_file()
    } == transcripts
    place.check_ledger()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_points", [3, pytest.param(None, marks=full)])
@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_a_kill_at_any_point_of_a_move_is_made_up_for(
    quick_folder: Path, tmp_path: Path, how: str, n_points: int | None
):
    archive = (quick_folder if how == "renamed" else tmp_path) / "archive"
    if how == "copied" and quick_folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    first = a_place(quick_folder / "first", archive)
    found = points(first)
    check(first, archive)
    sounds = {path.name: path.read_bytes() for path in archive.rglob("*.wav")}
    if n_points is not None:
        found = random.Random(how).sample([p for p in found if p.startswith("mover.")], n_points)
    n_killed = 0

    for number, point in enumerate(found):
        place = a_place(quick_folder / f"{number}", archive)
        n_killed += place.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL
        assert place.run("once") == 0, (point, place.log())
        check(place, archive)
        assert {path.name: path.read_bytes() for path in archive.rglob("*.wav")} == sounds, point
        shutil.rmtree(place.folder)

    assert n_killed >= len(found) * 4 // 5
