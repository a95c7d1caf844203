"""A watcher that cannot be fooled: lost events, and inboxes that go away and come back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.place import Place

full = pytest.mark.reliability


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "n_files",
    [2_000, pytest.param(20_000, marks=full), pytest.param(100_000, marks=pytest.mark.nightly)],
)
def test_no_file_of_a_flood_is_missed_when_events_are_lost(place: Place, n_files: int):
    """The daemon stands still while they come; of 20,000 inotify's queue (16,384) overflows."""
    place.configure(
        inbox={"settle_s": 3600.0}
    )  # every file has a row; what comes then is not at issue
    daemon = place.start("run")
    place.wait_for(lambda: "engine loaded" in place.log(), daemon)
    daemon.send_signal(signal.SIGSTOP)
    for n in range(n_files):
        file = os.open(place.inbox / f"{n}.wav", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"x")
        os.close(file)
    (place.inbox / "late").mkdir()
    (place.inbox / "late" / "last.wav").write_bytes(b"x")
    daemon.send_signal(signal.SIGCONT)
    place.wait_for(lambda: place.n("SEEN") == n_files + 1, daemon)

    status = Path(f"/proc/{daemon.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 500 * 1024  # KiB
    daemon.terminate()
    assert daemon.wait(60) == 0


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def rename_away(place: Place) -> Callable[[], None]:
    place.inbox.rename(place.folder / "elsewhere")
    return lambda: (place.folder / "elsewhere").rename(place.inbox) and None


def mount_over(place: Place) -> Callable[[], None]:
    mount("-t", "tmpfs", "none", place.inbox)
    return lambda: subprocess.run(["umount", "-l", place.inbox], check=True) and None


def unmount(place: Place) -> Callable[[], None]:
    """The inbox was on a disk of its own all the time; see `on_its_own_disk`."""
    subprocess.run(["umount", "-l", place.inbox], check=True)
    return lambda: mount("--bind", place.folder / "disk" / "inbox", place.inbox)


def on_its_own_disk(place: Place) -> None:
    disk = place.folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "none", disk)
    (disk / "inbox").mkdir()
    mount("--bind", disk / "inbox", place.inbox)


AWAY = {
    "renamed": rename_away,
    "mounted over": mount_over,
    "unmounted": unmount,
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("way", "n_times"),
    [("mounted over", 1), *(pytest.param(way, 5, marks=full) for way in AWAY)],
)
def test_an_inbox_that_goes_away_loses_nothing_and_is_taken_up_again(
    place: Place, way: str, n_times: int
):
    if "mounted" in way and os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if way == "unmounted":
        on_its_own_disk(place)
    try:
        place.configure(inbox={"rescan_s": 0.5})
        daemon = place.start("run")
        for time in range(n_times):
            place.drop(f"{time}-before.wav", seed=2 * time)
            place.wait_for(lambda: place.n("DONE") == len(place.expected), daemon)
            said = n_complaints(place) + 1
            come_back = AWAY[way](place)
            place.wait_for(partial(is_said, place, said), daemon)
            assert place.n("GONE") == 0
            come_back()
            place.drop(f"{time}-after.wav", seed=2 * time + 1)
            place.wait_for(lambda: place.n("DONE") == len(place.expected), daemon)
        daemon.terminate()
        assert daemon.wait(60) == 0
        place.check_nothing_is_lost()
        gone = place.query("SELECT count(*) FROM transitions WHERE after = 'GONE'")
        assert gone == [(0,)]
        assert place.query("SELECT max(generation) FROM files") == [(1,)]
    finally:
        if way == "unmounted":
            for mounted in (place.inbox, place.folder / "disk"):
                subprocess.run(["umount", "-l", mounted], capture_output=True, check=False)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("what", "n_times"),
    [("emitter", 1), *(pytest.param(what, 5, marks=full) for what in ("emitter", "handler"))],
)
def test_a_watcher_that_dies_without_a_word_is_replaced(place: Place, what: str, n_times: int):
    """watchdog's observer lives on when its emitter has ended, and dies of a handler that raises."""
    place.configure(inbox={"rescan_s": 1.0})
    daemon = place.start("run", WATCHER_BREAKS=what)
    place.wait_for(lambda: "engine loaded" in place.log(), daemon)
    for time in range(n_times):
        daemon.send_signal(signal.SIGUSR1)
        place.drop(f"{time}.wav", seed=time)
        place.wait_for(partial(is_watched_anew, place, time + 1), daemon)
        place.wait_for(lambda: place.n("DONE") == len(place.expected), daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0

    place.check_nothing_is_lost()
    assert place.query("SELECT count(*) FROM transitions WHERE after = 'GONE'") == [(0,)]


def is_watched_anew(place: Place, times: int) -> bool:
    return (place.folder / "log.txt").read_text().count("begins anew") >= times


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_times", [1, pytest.param(5, marks=full)])
def test_an_inbox_that_was_deleted_is_watched_when_it_is_made_again(place: Place, n_times: int):
    place.configure(inbox={"rescan_s": 0.5})
    daemon = place.start("run")
    place.wait_for(lambda: "engine loaded" in place.log(), daemon)
    for time in range(n_times):
        said = n_complaints(place) + 1
        shutil.rmtree(place.inbox)
        place.wait_for(partial(is_said, place, said), daemon)
        place.inbox.mkdir()
        place.expected.clear()
        place.drop(f"{time}.wav", seed=time)
        place.wait_for(lambda n=time + 1: place.n("DONE") == n, daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0
    assert place.query("SELECT count(*) FROM transitions WHERE after = 'GONE'") == [(0,)]


LIMITED = 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"'


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_times", [1, pytest.param(5, marks=full)])
def test_more_folders_than_the_kernel_watches_are_noticed_and_looked_at(
    quick_folder: Path, n_times: int
):
    """Of eleven folders five are watched, and watchdog says nothing. The limit is a user namespace's."""
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", LIMITED, "sh"]
    if subprocess.run([*limited, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not make a user namespace")
    for time in range(n_times):
        place = Place(quick_folder / f"{time}", inbox={"rescan_s": 1.0})
        for n in range(10):
            (place.inbox / f"{n}").mkdir()
        daemon = place.start("run", prefix=limited)
        place.wait_for(lambda p=place: "watches too few folders" in p.log(), daemon)
        for n in range(10):
            place.drop(f"{n}/{n}.wav", seed=n)
        place.wait_for(lambda p=place: p.n("DONE") == 10, daemon)
        daemon.terminate()
        assert daemon.wait(60) == 0
        place.check_nothing_is_lost()


def n_complaints(place: Place) -> int:
    """How often the program has said that the inbox is away."""
    return (place.folder / "log.txt").read_text().count("cannot be read whole")


def is_said(place: Place, times: int) -> bool:
    return n_complaints(place) >= times
