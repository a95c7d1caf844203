"""Locks, signals, systemd notifications and log lines."""

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


def record(message: str, **fields: object) -> logging.LogRecord:
    new = logging.LogRecord("thoth_watch.x", logging.INFO, "x.py", 1, message, (), None)
    vars(new).update(fields)
    return new


def test_only_one_process_holds_the_lock_and_the_error_names_it(tmp_path: Path):
    path = tmp_path / "state" / "ledger.lock"
    code = (
        "import sys; from pathlib import Path\n"
        "from thoth_watch.infrastructure.service.lock import ProcessLock, inbox_lock\n"
        "with ProcessLock(Path(sys.argv[1])): pass"
    )
    with ProcessLock(path):
        second = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )

        assert second.returncode != 0
        assert f"process {os.getpid()} is using this ledger" in second.stderr
    with ProcessLock(path):
        pass


def test_processes_with_different_ledgers_cannot_share_an_inbox(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    with inbox_lock(tmp_path):
        refused = pytest.raises(RetryLater, match="another process is using this inbox")
        with refused, inbox_lock(tmp_path / "link"):
            pass
        with inbox_lock(tmp_path / "away"), inbox_lock(tmp_path / "away"):
            pass
    with inbox_lock(tmp_path):
        pass


def test_a_lock_that_cannot_be_created_raises_retry_later(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RetryLater, match="lock"), ProcessLock(tmp_path / "file" / "x.lock"):
        pass


def test_the_first_signal_sets_the_flag_and_restores_the_default_handler():
    calls = []
    with stop_on_signals(lambda: calls.append(1)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)

        assert stop()
        assert (stop.signal_name, calls) == ("SIGTERM", [1])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_no_watchdog_message_is_sent_when_the_engine_stalls_for_half_the_timeout(
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


def test_a_service_manager_that_does_not_read_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("thoth_watch.infrastructure.service.sd_notify.SEND_TIMEOUT_S", 1e-4)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(0.0)
        manager = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1"})
        for _ in range(1000):  # more than the queue of any system holds
            manager.alive()
        n_received = 0
        with suppress(BlockingIOError):
            while end.recv(100) == b"WATCHDOG=1":
                n_received += 1

        assert 0 < n_received < 1000
        manager.stopping()
        assert end.recv(100) == b"STOPPING=1"


def test_a_log_line_contains_its_fields_and_escapes_file_names():
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


def test_process_information_is_plausible():
    assert peak_rss_bytes() > 1_000_000
    assert str(os.getpid()) in owner_token()
