"""A disk that fills up and is emptied again; several programs at one inbox."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.place import PATIENCE_S, Place
from thoth_watch.domain.errors import EXIT_RETRY_LATER

full = pytest.mark.reliability


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["inbox", "ledger", "both"])
def test_a_full_disk_is_waited_out_and_blames_nobody(tmp_path: Path, small_disk: Path, what: str):
    place = Place(tmp_path / "place", batch={"max_files": 4})
    if what in {"inbox", "both"}:
        place.inbox = small_disk / "inbox"
        place.inbox.mkdir()
    if what in {"ledger", "both"}:
        place.database = small_disk / "state" / "thoth-watch.db"
    place.configure(batch={"max_files": 4})
    daemon = place.start("run")
    place.wait_for(lambda: "engine loaded" in place.log(), daemon)
    try:
        for time in range(3):
            for n in range(4):
                place.drop(f"{time}-{n}.wav", seed=4 * time + n)
            ballast = fill(small_disk)
            said = n_complaints(place)
            place.wait_for(partial(is_said, place, said + 1), daemon)
            ballast.unlink()
            place.wait_for(partial(are_done, place), daemon)
        daemon.terminate()
        assert daemon.wait(60) == 0
        place.check_nothing_is_lost()
        blamed = place.query(
            "SELECT count(*) FROM transitions WHERE after IN ('FAILED', 'QUARANTINED', 'CONFLICT')"
        )
        assert blamed == [(0,)]
    finally:
        daemon.kill()


def is_said(place: Place, times: int) -> bool:
    """Whether the program has complained of the disk so often, in its log or in the ledger."""
    in_ledger = place.query("SELECT count(*) FROM files WHERE reason LIKE '%make room%'")[0][0]
    return bool(in_ledger) or n_complaints(place) >= times


def n_complaints(place: Place) -> int:
    return (place.folder / "log.txt").read_text().count("make room")


def are_done(place: Place) -> bool:
    return place.n("DONE") == len(place.expected)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_files", [10, pytest.param(500, marks=full)])
def test_of_several_programs_one_works_and_the_others_leave(place: Place, n_files: int):
    daemon = place.start("run", ENGINE_TAKES_S="0.01")
    place.wait_for(lambda: "engine loaded" in place.log(), daemon)
    others, askers = [], []
    for n in range(n_files):
        place.drop(f"{n}.wav", seed=n)
        if n % 200 == 5:
            others += [place.start("once"), place.start("run")]
            askers.append(place.start("status"))
    assert {other.wait(PATIENCE_S) for other in others} == {EXIT_RETRY_LATER}
    assert {asker.wait(PATIENCE_S) for asker in askers} == {0}
    place.wait_for(partial(are_done, place), daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0

    place.check_nothing_is_lost()
    claims = place.query(
        "SELECT count(*) FROM transitions WHERE after = 'CLAIMED' GROUP BY file_id HAVING count(*) > 1"
    )
    assert claims == []
    assert "locked" not in (place.folder / "log.txt").read_text()
