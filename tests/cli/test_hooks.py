"""`hooks` with a command and a web server, working, slow or broken."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.filled_ledger import fill_ledger
from thoth_watch.domain import errors

RECORD_EVENT = """
import json, os, sys
event = json.load(sys.stdin)
event['env'] = os.environ.get('THOTH_PATH')
open('received', 'a').write(json.dumps(event) + '\\n')
"""


class HooksFolder:
    """A folder with a ledger that changes after the hooks have started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = fill_ledger(folder / "thoth-watch.db", n_runs=3)
        self.n_transitions = 1000

    def configure(self, **hooks: object) -> None:
        document = {"inbox": {"path": "."}, "hooks": {"command": [], **hooks}}
        (self.folder / "config.yaml").write_text(json.dumps(document))

    def move(self, file_id: int, after: str, reason: str = "") -> None:
        self.n_transitions += 1
        with closing(sqlite3.connect(self.ledger)) as ledger, ledger:
            ledger.execute(
                "INSERT INTO transitions VALUES (?, ?, '2026-11-24 00:00:00.000000Z', 'RESULT', ?, ?, 1)",
                (self.n_transitions, file_id, after, reason),
            )

    def finish_run(self, run_id: int, status: str) -> None:
        with closing(sqlite3.connect(self.ledger)) as ledger, ledger:
            ledger.execute(
                "UPDATE runs SET finished_at = '2026-11-24 00:00:01.000000Z', status = ? WHERE id = ?",
                (status, run_id),
            )

    def received_events(self) -> list[dict[str, object]]:
        path = self.folder / "received"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def hooks_folder(tmp_path: Path) -> HooksFolder:
    return HooksFolder(tmp_path)


def test_a_command_receives_every_end_once_and_only_ends(run, hooks_folder: HooksFolder):
    hooks_folder.configure(command=[sys.executable, "-c", RECORD_EVENT])
    assert run("hooks", "--once").returncode == 0
    assert hooks_folder.received_events() == [], "earlier events are not sent"
    with closing(sqlite3.connect(hooks_folder.ledger)) as ledger, ledger:
        ledger.execute(
            "INSERT INTO publications VALUES (1, 12, 'txt', '/srv/a.txt', X'00', 'stem', 'aa', 1, 1, NULL)"
        )

    hooks_folder.move(12, "CLAIMED", "in a batch")
    hooks_folder.move(12, "DONE")
    hooks_folder.move(13, "FAILED", "no audio in it")
    hooks_folder.finish_run(3, "PARTIAL")
    assert run("hooks", "--once").returncode == 0
    assert run("hooks", "--once").returncode == 0

    done, failed, ended = hooks_folder.received_events()
    assert (done["event"], done["outputs"]) == ("file.done", ["/srv/a.txt"])
    assert done["env"] == done["path"]
    assert (failed["event"], failed["state"], failed["reason"]) == (
        "file.failed",
        "FAILED",
        "no audio in it",
    )
    assert (ended["event"], ended["run_id"], ended["status"]) == ("run.failed", 3, "PARTIAL")


def test_only_the_configured_ends_are_sent(run, hooks_folder: HooksFolder):
    hooks_folder.configure(command=[sys.executable, "-c", RECORD_EVENT], ends=["failed"])
    run("hooks", "--once")
    hooks_folder.move(12, "DONE")
    hooks_folder.move(13, "QUARANTINED", "crashed twice")
    run("hooks", "--once")

    assert [event["event"] for event in hooks_folder.received_events()] == ["file.failed"]


def test_a_failing_hook_is_retried_and_then_reported(run, hooks_folder: HooksFolder):
    code = "open('tries', 'a').write('x'); import sys; sys.exit('out of order')"
    hooks_folder.configure(command=[sys.executable, "-c", code], tries=2)
    run("hooks", "--once")
    hooks_folder.move(12, "DONE")

    done = run("hooks", "--once")

    assert done.returncode == errors.EXIT_SOME_FAILED
    assert (hooks_folder.folder / "tries").read_text() == "xx"
    assert "file.done of /srv/in/2026-11/talk 3-0.wav not delivered" in done.stderr
    assert "out of order" in done.stderr
    assert run("hooks", "--once").returncode == 0, "the event was abandoned after its retries"


def test_a_hook_that_hangs_is_stopped(run, hooks_folder: HooksFolder):
    hooks_folder.configure(command=["sleep", "600"], tries=1, timeout_s=0.2)
    run("hooks", "--once")
    hooks_folder.move(12, "DONE")

    assert "sleep: stopped after 0.2 s" in run("hooks", "--once").stderr


def test_a_missing_program_is_reported(run, hooks_folder: HooksFolder):
    hooks_folder.configure(command=["./no-such-program"], tries=1)
    run("hooks", "--once")
    hooks_folder.move(12, "DONE")

    assert "./no-such-program: No such file" in run("hooks", "--once").stderr


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str | None, bytes]]]]:
    """Yield the address of a web server and its requests; it rejects the first one."""
    requests: list[tuple[str | None, bytes]] = []

    class RecordingHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.headers.get("X-Thoth-Signature"), body))
            self.send_response(503 if len(requests) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Do nothing."""

    with HTTPServer(("127.0.0.1", 0), RecordingHandler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}/", requests
        web.shutdown()
        thread.join()


def test_a_webhook_receives_signed_json_and_is_retried(run, hooks_folder: HooksFolder, server):
    url, requests = server
    hooks_folder.configure(webhook=url, secret="quite secret", tries=2)
    run("hooks", "--once")
    hooks_folder.move(12, "DONE")

    assert run("hooks", "--once").returncode == 0

    assert len(requests) == 2
    signature, body = requests[-1]
    assert json.loads(body)["event"] == "file.done"
    mac = hmac.new(b"quite secret", body, hashlib.sha256).hexdigest()
    assert signature == f"sha256={mac}"


def test_a_secret_is_not_shown(run, hooks_folder: HooksFolder):
    hooks_folder.configure(webhook="https://example.org/", secret="quite secret")
    assert "quite secret" not in run("check", "--no-engine", "--json").stdout


def test_without_a_hook_the_error_names_the_keys(run, hooks_folder: HooksFolder):
    hooks_folder.configure()
    done = run("hooks")
    assert done.returncode == errors.EXIT_CONFIG
    assert "hooks.command" in done.stderr
    hooks_folder.configure(webhook="ftp://example.org")
    assert "https://" in run("hooks").stderr
