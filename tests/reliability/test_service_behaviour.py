"""READY, WATCHDOG, STOPPING; stopping in ten seconds; SIGHUP."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.place import PATIENCE_S, Place

full = pytest.mark.reliability


class Manager:
    """systemd's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.path = path

    def hear(self, timeout_s: float = PATIENCE_S) -> str:
        """The next thing that the service says; empty when it is silent for so long."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return ""

    def hear_until(self, words: str) -> list[str]:
        """All that it says up to those words."""
        said = [self.hear()]
        while said[-1] and not said[-1].startswith(words):
            said.append(self.hear())
        assert said[-1], said
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def started(place: Place, manager: Manager, **environment: str) -> subprocess.Popen[str]:
    return place.start("run", NOTIFY_SOCKET=str(manager.path), **environment)


def test_it_is_ready_after_its_test_and_says_when_it_stops(place: Place, manager: Manager):
    daemon = started(place, manager)
    assert manager.hear() == "READY=1"
    assert "engine loaded" in place.log()
    daemon.terminate()

    assert manager.hear_until("STOPPING")[-1] == "STOPPING=1"
    assert daemon.wait(PATIENCE_S) == 0


def test_the_watchdog_hears_of_it_until_the_loop_stalls(place: Place, manager: Manager):
    place.configure(inbox={"rescan_s": 3600.0})
    daemon = started(place, manager, WATCHDOG_USEC="600000")
    manager.hear_until("READY")
    for _ in range(5):
        assert manager.hear() == "WATCHDOG=1"
    daemon.send_signal(signal.SIGSTOP)
    while manager.hear(0.5):
        pass  # what was on its way

    assert manager.hear(2.0) == ""
    daemon.send_signal(signal.SIGCONT)
    assert manager.hear() == "WATCHDOG=1"
    daemon.terminate()
    assert daemon.wait(PATIENCE_S) == 0


def test_the_watchdog_hears_nothing_when_the_engine_stalls(place: Place, manager: Manager):
    place.drop("a.wav", seed=1)
    trap = place.expected.popitem()[1]
    daemon = started(place, manager, WATCHDOG_USEC="2000000", ENGINE_HANGS_ON=trap)
    try:
        place.wait_for(lambda: "no sign of life" in place.log(), daemon)
        while manager.hear(0.1):
            pass  # what was said before

        assert manager.hear(2.0) == ""
        place.drop("b.wav", seed=2)
        place.wait_for(lambda: place.n("READY") == 1, daemon)  # the loop itself goes round
        assert manager.hear(0.5) == ""
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.parametrize("n_stops", [1, pytest.param(20, marks=full)])
def test_a_stop_in_the_middle_of_a_batch_loses_and_doubles_nothing(place: Place, n_stops: int):
    for n in range(16 * n_stops):
        place.drop(f"{n}.wav", seed=n)
    for n in range(n_stops):
        daemon = place.start("run", ENGINE_TAKES_S="0.1")
        place.wait_for(partial(is_at_work, place, n + 1), daemon)
        asked_s = time.monotonic()
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        if n_stops > 1:  # a limit in seconds: not for a machine that is busy with other work
            assert time.monotonic() - asked_s < 10
        place.check_ledger()
    assert place.query("SELECT count(*) FROM files WHERE deaths > 0") == [(0,)]

    assert place.run("once") == 0
    place.check_nothing_is_lost()


def is_at_work(place: Place, starts: int) -> bool:
    """Whether that many starts have come so far that they transcribe."""
    text = (place.folder / "log.txt").read_text()
    return text.count("engine loaded") == starts and place.n("DONE") > 0


@pytest.mark.reliability  # a limit in seconds: not for a machine that is busy with other work
def test_an_engine_that_does_not_let_go_is_left_behind_in_ten_seconds(place: Place):
    place.drop("a.wav", seed=1)
    daemon = place.start("run", ENGINE_TAKES_S="1", ENGINE_HANGS_ON=place.expected.popitem()[1])
    place.wait_for(lambda: place.n("CLAIMED") == 1 and "hangs" in place.log(), daemon)
    asked_s = time.monotonic()
    daemon.terminate()
    assert daemon.wait(PATIENCE_S) == 0
    assert time.monotonic() - asked_s < 10
    place.check_ledger()
    assert place.query("SELECT state, deaths, attempts FROM files") == [("READY", 0, 0)]

    place.drop("a.wav", seed=1)
    assert place.run("once") == 0, place.log()
    place.check_nothing_is_lost()


def test_a_bad_configuration_is_refused_and_a_good_one_takes_over(place: Place, manager: Manager):
    daemon = started(place, manager)
    manager.hear_until("READY")
    good = place.config.read_text()
    place.config.write_text("inbox: {path: 7}\n")
    daemon.send_signal(signal.SIGHUP)
    place.wait_for(lambda: "the old one stays" in place.log(), daemon)
    place.drop("a.wav", seed=1)
    place.wait_for(lambda: place.n("DONE") == 1, daemon)
    assert place.inbox.joinpath("a.txt").exists()

    place.config.write_text(good.replace('"txt"', '"txt", "srt"'))
    daemon.send_signal(signal.SIGHUP)
    assert manager.hear_until("RELOADING")
    manager.hear_until("READY")
    place.drop("b.wav", seed=2)
    place.wait_for(lambda: place.n("DONE") == 2, daemon)
    assert place.inbox.joinpath("b.srt").exists()
    assert place.log().count("engine loaded") == 1  # nothing about it changed
    daemon.terminate()
    assert daemon.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("why", ["its model is missing", "its ledger is no ledger"])
def test_a_configuration_that_cannot_be_served_gives_way_to_the_one_before(
    place: Place, manager: Manager, why: str
):
    daemon = started(place, manager)
    manager.hear_until("READY")
    diary = place.folder / "diary"
    diary.write_text("no ledger\n" * 100)
    if why == "its model is missing":
        place.configure(engine={"model": "nobody/missing"})
    else:
        place.configure(ledger={"url": f"sqlite:///{diary}"})
    daemon.send_signal(signal.SIGHUP)
    manager.hear_until("RELOADING")
    manager.hear_until("READY")
    assert "the old one stays" in place.log()

    place.drop("a.wav", seed=1)
    place.wait_for(lambda: place.n("DONE") == 1, daemon)
    daemon.terminate()
    assert daemon.wait(PATIENCE_S) == 0
    place.check_nothing_is_lost()
