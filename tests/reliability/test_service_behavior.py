"""READY, WATCHDOG and STOPPING messages; stopping within ten seconds; reloading by SIGHUP."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.workspace import TIMEOUT_S, Workspace

full = pytest.mark.reliability


class FakeServiceManager:
    """The service manager's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.path = path

    def receive(self, timeout_s: float = TIMEOUT_S) -> str:
        """Return the service's next message, or an empty string if none comes within `timeout_s`."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return ""

    def receive_until(self, prefix: str) -> list[str]:
        """Return the messages up to the first one with that prefix."""
        messages = [self.receive()]
        while messages[-1] and not messages[-1].startswith(prefix):
            messages.append(self.receive())
        assert messages[-1], messages
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[FakeServiceManager]:
    manager = FakeServiceManager(tmp_path / "notify")
    yield manager
    manager.close()


def start_daemon(
    workspace: Workspace, service_manager: FakeServiceManager, **environment: str
) -> subprocess.Popen[str]:
    return workspace.start("run", NOTIFY_SOCKET=str(service_manager.path), **environment)


def test_ready_is_sent_after_the_engine_is_loaded_and_stopping_at_the_end(
    workspace: Workspace, service_manager: FakeServiceManager
):
    daemon = start_daemon(workspace, service_manager)
    assert service_manager.receive() == "READY=1"
    assert "engine loaded" in workspace.log()
    daemon.terminate()

    assert service_manager.receive_until("STOPPING")[-1] == "STOPPING=1"
    assert daemon.wait(TIMEOUT_S) == 0


def test_watchdog_messages_stop_when_the_main_loop_stalls(
    workspace: Workspace, service_manager: FakeServiceManager
):
    workspace.configure(inbox={"rescan_s": 3600.0})
    daemon = start_daemon(workspace, service_manager, WATCHDOG_USEC="600000")
    service_manager.receive_until("READY")
    for _ in range(5):
        assert service_manager.receive() == "WATCHDOG=1"
    daemon.send_signal(signal.SIGSTOP)
    while service_manager.receive(0.5):
        pass  # drain messages sent before the stop

    assert service_manager.receive(2.0) == ""
    daemon.send_signal(signal.SIGCONT)
    assert service_manager.receive() == "WATCHDOG=1"
    daemon.terminate()
    assert daemon.wait(TIMEOUT_S) == 0


def test_watchdog_messages_stop_when_the_engine_stalls(
    workspace: Workspace, service_manager: FakeServiceManager
):
    workspace.drop("a.wav", seed=1)
    hanging_text = workspace.expected.popitem()[1]
    daemon = start_daemon(
        workspace, service_manager, WATCHDOG_USEC="2000000", ENGINE_HANGS_ON=hanging_text
    )
    try:
        workspace.wait_for(lambda: "engine makes no progress" in workspace.log(), daemon)
        while service_manager.receive(2.0):
            pass  # a slow machine also stalls briefly before the engine hangs

        assert service_manager.receive(2.0) == ""
        workspace.drop("b.wav", seed=2)
        # the main loop still runs
        workspace.wait_for(lambda: workspace.count_files("READY") == 1, daemon)
        assert service_manager.receive(0.5) == ""
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.parametrize("n_stops", [1, pytest.param(20, marks=full)])
def test_a_stop_in_the_middle_of_a_batch_loses_and_duplicates_nothing(
    workspace: Workspace, n_stops: int
):
    for n in range(16 * n_stops):
        workspace.drop(f"{n}.wav", seed=n)
    for n in range(n_stops):
        daemon = workspace.start("run", ENGINE_TAKES_S="0.1")
        workspace.wait_for(partial(is_transcribing, workspace, n + 1), daemon)
        stop_requested_s = time.monotonic()
        daemon.terminate()
        assert daemon.wait(TIMEOUT_S) == 0
        if n_stops > 1:  # a limit in seconds may fail on a busy machine
            assert time.monotonic() - stop_requested_s < 10
        workspace.check_ledger()
    assert workspace.query("SELECT count(*) FROM files WHERE deaths > 0") == [(0,)]

    assert workspace.run("once") == 0
    workspace.check_nothing_is_lost()


def is_transcribing(workspace: Workspace, n_starts: int) -> bool:
    """Return True if the engine was loaded `n_starts` times and a file is DONE."""
    text = (workspace.folder / "log.txt").read_text()
    return text.count("engine loaded") == n_starts and workspace.count_files("DONE") > 0


@pytest.mark.reliability  # a limit in seconds may fail on a busy machine
def test_a_stop_waits_less_than_ten_seconds_for_an_engine_that_hangs(workspace: Workspace):
    workspace.drop("a.wav", seed=1)
    daemon = workspace.start(
        "run", ENGINE_TAKES_S="1", ENGINE_HANGS_ON=workspace.expected.popitem()[1]
    )
    workspace.wait_for(
        lambda: workspace.count_files("CLAIMED") == 1 and "hangs" in workspace.log(), daemon
    )
    stop_requested_s = time.monotonic()
    daemon.terminate()
    assert daemon.wait(TIMEOUT_S) == 0
    assert time.monotonic() - stop_requested_s < 10
    workspace.check_ledger()
    assert workspace.query("SELECT state, deaths, attempts FROM files") == [("READY", 0, 0)]

    workspace.drop("a.wav", seed=1)
    assert workspace.run("once") == 0, workspace.log()
    workspace.check_nothing_is_lost()


def test_a_bad_configuration_is_rejected_and_a_good_one_is_applied(
    workspace: Workspace, service_manager: FakeServiceManager
):
    daemon = start_daemon(workspace, service_manager)
    service_manager.receive_until("READY")
    good = workspace.config.read_text()
    workspace.config.write_text("inbox: {path: 7}\n")
    daemon.send_signal(signal.SIGHUP)
    workspace.wait_for(lambda: "the old one stays" in workspace.log(), daemon)
    workspace.drop("a.wav", seed=1)
    workspace.wait_for(lambda: workspace.count_files("DONE") == 1, daemon)
    assert workspace.inbox.joinpath("a.txt").exists()

    workspace.config.write_text(good.replace('"txt"', '"txt", "srt"'))
    daemon.send_signal(signal.SIGHUP)
    assert service_manager.receive_until("RELOADING")
    service_manager.receive_until("READY")
    workspace.drop("b.wav", seed=2)
    workspace.wait_for(lambda: workspace.count_files("DONE") == 2, daemon)
    assert workspace.inbox.joinpath("b.srt").exists()
    assert workspace.log().count("engine loaded") == 1  # its settings did not change
    daemon.terminate()
    assert daemon.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("problem", ["missing model", "invalid ledger"])
def test_the_previous_configuration_stays_when_the_new_one_cannot_be_used(
    workspace: Workspace, service_manager: FakeServiceManager, problem: str
):
    daemon = start_daemon(workspace, service_manager)
    service_manager.receive_until("READY")
    diary = workspace.folder / "diary"
    diary.write_text("not a ledger\n" * 100)
    if problem == "missing model":
        workspace.configure(engine={"model": "no-such-org/no-such-model"})
    else:
        workspace.configure(ledger={"url": f"sqlite:///{diary}"})
    daemon.send_signal(signal.SIGHUP)
    service_manager.receive_until("RELOADING")
    service_manager.receive_until("READY")
    assert "the old one stays" in workspace.log()

    workspace.drop("a.wav", seed=1)
    workspace.wait_for(lambda: workspace.count_files("DONE") == 1, daemon)
    daemon.terminate()
    assert daemon.wait(TIMEOUT_S) == 0
    workspace.check_nothing_is_lost()
