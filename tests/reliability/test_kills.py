"""kill -9 at every point, and at any time: each recording has its transcript, once, whole."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.reliability.place import Place

full = pytest.mark.reliability
POINTS = (
    "ledger.",
    "publish_steps.",
    "publisher.",
)  # all that writes; a kill while reading is one of the random ones


def points_of(place: Place) -> list[str]:
    """All points that a copy of the program's place reaches from here to the end."""
    copy = Place(
        place.folder.parent / "traced", inbox={"path": str(place.folder.parent / "traced/inbox")}
    )
    shutil.rmtree(copy.inbox)
    shutil.copytree(place.inbox, copy.inbox, symlinks=True)
    copy.expected = {copy.inbox / p.relative_to(place.inbox): t for p, t in place.expected.items()}
    points = points_to_the_end(copy, POINTS)
    shutil.rmtree(copy.folder)
    return points


def points_to_the_end(place: Place, beginnings: tuple[str, ...]) -> list[str]:
    """The points of those names that the program reaches there, as `name:number`; it runs to its end."""
    trace = place.folder / "trace"
    assert place.run("once", FAILPOINT_TRACE=str(trace)) == 0, place.log()
    counts: Counter[str] = Counter()
    points = []
    for name in trace.read_text().split():
        counts[name] += 1
        if name.startswith(beginnings):
            points.append(f"{name}:{counts[name]}")
    return points


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("n_files", "n_points"),
    [(1, 1), (3, 2), pytest.param(1, None, marks=full), pytest.param(3, None, marks=full)],
)
def test_a_kill_at_any_point_is_made_up_for(quick_folder: Path, n_files: int, n_points: int | None):
    first = Place(quick_folder / "first")
    for n in range(n_files):
        first.drop(f"{n}.wav", seed=n)
    points = points_of(first)
    if n_points is not None:
        points = random.Random(n_files).sample(points, n_points)
    missed = []

    for number, point in enumerate(points):
        place = Place(quick_folder / f"{number}")
        for n in range(n_files):
            place.drop(f"{n}.wav", seed=n)
        if place.run("once", FAILPOINT=f"{point}:kill") != -signal.SIGKILL:
            missed.append(point)  # threads: not every run has the same number of points
        assert place.run("once") == 0, (point, place.log())
        place.check_nothing_is_lost()
        shutil.rmtree(place.folder)

    assert len(missed) <= len(points) // 5, missed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_points", [1, pytest.param(None, marks=full)])
def test_a_second_kill_while_the_first_is_made_up_for_changes_nothing(
    quick_folder: Path, n_points: int | None
):
    """The first one comes when the transcript has its name, and its folder is not yet on disk."""

    def crashed(folder: Path) -> Place:
        place = Place(folder)
        for n in range(3):
            place.drop(f"{n}.wav", seed=n)
        assert place.run("once", FAILPOINT="publish_steps.fsync:4:kill") == -signal.SIGKILL, (
            place.log()
        )
        return place

    points = points_to_the_end(crashed(quick_folder / "model"), POINTS)
    if n_points is not None:
        points = random.Random(1).sample(points, n_points)

    n_killed = 0
    for number, point in enumerate(points):
        place = crashed(quick_folder / f"{number}")
        n_killed += place.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL
        assert place.run("once") == 0, (point, place.log())
        place.check_nothing_is_lost()
        shutil.rmtree(place.folder)

    assert n_killed >= len(points) * 4 // 5


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_points", [1, pytest.param(None, marks=full)])
def test_a_kill_while_an_older_transcript_is_replaced_leaves_nothing_behind(
    quick_folder: Path, n_points: int | None
):
    """The two change places under a temporary name; what a kill leaves there goes an hour later."""

    def changed(folder: Path) -> Place:
        place = Place(folder)
        place.drop("a.wav", seed=1)
        assert place.run("once") == 0
        place.drop("a.wav", seed=2)
        return place

    points = points_to_the_end(changed(quick_folder / "model"), ("publish_steps.", "publisher."))
    if n_points is not None:
        points = [next(point for point in points if point.startswith("publisher.unlink"))]
    n_left = 0
    for number, point in enumerate(points):
        place = changed(quick_folder / f"{number}")
        assert place.run("once", FAILPOINT=f"{point}:kill") == -signal.SIGKILL, (point, place.log())
        n_left += any(path.suffix == ".tmp" for path in place.inbox.iterdir())
        assert place.run("once") == 0, (point, place.log())
        place.drop("b.wav", seed=3)
        assert place.run("once", LEFTOVERS_AGE_S="0") == 0, (point, place.log())
        place.check_nothing_is_lost()
        shutil.rmtree(place.folder)

    assert n_left > 0


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "n_cycles",
    [3, pytest.param(200, marks=full), pytest.param(2_000, marks=pytest.mark.nightly)],
)
def test_a_daemon_killed_at_any_time_while_files_arrive_loses_none(place: Place, n_cycles: int):
    dice = random.Random(n_cycles)
    n_dropped = 0
    for _ in range(n_cycles):
        daemon = place.start("run", ENGINE_TAKES_S="0.01")
        end = time.monotonic() + dice.uniform(0.6, 2.6)  # it is at work after about a second
        while time.monotonic() < end:
            if n_dropped < 8 * n_cycles:
                place.drop(f"{n_dropped % 7}/{n_dropped}.wav", seed=n_dropped)
                n_dropped += 1
            time.sleep(0.05)
        daemon.kill()
        assert daemon.wait() == -signal.SIGKILL, place.log()

    place.configure(batch={"max_files": 64})
    assert place.run("once") == 0, place.log()
    place.check_nothing_is_lost()
    assert n_dropped > 5 * n_cycles
