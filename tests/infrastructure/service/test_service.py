"""Lock, signals and log lines."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from thoth_watch.domain.errors import RetryLater
from thoth_watch.infrastructure.service.lock import ProcessLock, inbox_lock
from thoth_watch.infrastructure.service.logs import JsonFormatter, LineFormatter
from thoth_watch.infrastructure.service.process import owner_token, peak_rss_bytes
from thoth_watch.infrastructure.service.sd_notify import SystemdNotifier
from thoth_watch.infrastructure.service.signals import stop_on_signals


def record(message: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("thoth_watch.x", logging.INFO, "x.py", 1, message, (), None)
    vars(made).update(facts)
    return made


def test_only_one_process_holds_the_lock_and_the_other_is_told_who(tmp_path: Path):
    path = tmp_path / "state" / "ledger.lock"
    code = (
        "import sys; from pathlib import Path\n"
        "from thoth_watch.infrastructure.service.lock import ProcessLock, inbox_lock\n"
        "with ProcessLock(Path(sys.argv[1])): pass"
    )
    with ProcessLock(path):
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )

        assert other.returncode != 0
        assert f"process {os.getpid()} works on this ledger" in other.stderr
    with ProcessLock(path):
        pass


def test_two_programs_with_ledgers_of_their_own_cannot_have_one_inbox(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    with inbox_lock(tmp_path):
        refused = pytest.raises(RetryLater, match="another process works on this inbox")
        with refused, inbox_lock(tmp_path / "link"):
            pass
        with inbox_lock(tmp_path / "away"), inbox_lock(tmp_path / "away"):
            pass
    with inbox_lock(tmp_path):
        pass


def test_a_lock_that_cannot_be_made_is_for_later(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RetryLater, match="lock"), ProcessLock(tmp_path / "file" / "x.lock"):
        pass


def test_the_first_signal_raises_the_flag_and_the_second_is_deadly():
    rings = []
    with stop_on_signals(lambda: rings.append(1)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)

        assert stop()
        assert (stop.signal_name, rings) == ("SIGTERM", [1])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_manager_hears_nothing_while_the_engine_is_silent_for_half_of_its_patience(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}
        manager = SystemdNotifier(environ)
        manager.alive(silent_s=10.0)
        assert end.recv(100) == b"WATCHDOG=1"
        manager.alive(silent_s=10.1)
        manager.alive(silent_s=17.0)
        with pytest.raises(BlockingIOError):
            end.recv(100)
        assert [record.event for record in caplog.records] == ["engine_stalled"]
        manager.alive(silent_s=0.1)
        assert end.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_does_not_read_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("thoth_watch.infrastructure.service.sd_notify.SEND_TIMEOUT_S", 1e-4)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(0.0)
        manager = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1"})
        for _ in range(1000):  # more than any system's queue takes
            manager.alive()
        heard = 0
        with suppress(BlockingIOError):
            while end.recv(100) == b"WATCHDOG=1":
                heard += 1

        assert 0 < heard < 1000
        manager.stopping()
        assert end.recv(100) == b"STOPPING=1"


def test_a_log_line_holds_its_facts_and_no_newline_of_a_file_name():
    line = LineFormatter("%(message)s").format(
        record("file failed", event="file_failed", path="a\nb.wav", n=3)
    )

    assert line == "file failed: path='a\\nb.wav' n=3"


def test_a_json_line_is_one_object():
    event = json.loads(
        JsonFormatter().format(record("run recorded", event="run_recorded", run_id=7))
    )

    assert event["event"] == "run_recorded"
    assert (event["message"], event["run_id"], event["level"]) == ("run recorded", 7, "info")


def test_the_process_knows_itself():
    assert peak_rss_bytes() > 1_000_000
    assert str(os.getpid()) in owner_token()
