"""`status`, `runs`, `files` and `tail` with a ledger that has a history."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.filled_ledger import fill_ledger
from thoth_watch.domain import errors


@pytest.fixture
def filled_ledger(tmp_path: Path) -> Path:
    """Return a ledger with 30 runs, two of them with an unfinished file, and six waiting files."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "config.yaml").write_text("inbox: {path: ./inbox}\n")
    return fill_ledger(tmp_path / "thoth-watch.db", n_runs=30)


def test_status_shows_the_backlog_and_an_estimate(run, filled_ledger: Path):
    document = json.loads(run("status", "--json").stdout)

    assert document["counts"]["READY"] == 6
    assert document["backlog"]["files"] == 7, "six waiting files and one to be retried"
    assert document["backlog"]["files_of_unknown_length"] == 1
    speed = document["backlog"]["realtime_factor"]
    assert document["backlog"]["finish_s"] == pytest.approx(document["backlog"]["audio_s"] / speed)
    assert document["last_run"]["id"] == 30
    assert document["working_process"] is None
    assert {row["state"] for row in document["unfinished"]} == {"READY", "RETRY", "FAILED"}

    text = run("status").stdout
    assert re.search(
        r"^backlog: +7 files, .* of audio \(1 of unknown length\), about ", text, re.MULTILINE
    )
    assert re.search(r"^last run: +30 DONE, ", text, re.MULTILINE)
    assert "thoth-watch retry --all" in text


def test_status_has_no_estimate_for_files_of_unknown_length(run, filled_ledger: Path):
    with closing(sqlite3.connect(filled_ledger)) as ledger, ledger:
        ledger.execute("UPDATE files SET duration_s = NULL WHERE state IN ('READY', 'RETRY')")

    assert json.loads(run("status", "--json").stdout)["backlog"]["finish_s"] is None
    assert re.search(r"^backlog: +7 files of unknown length$", run("status").stdout, re.MULTILINE)


def test_status_shows_a_run_in_progress(run, filled_ledger: Path):
    with closing(sqlite3.connect(filled_ledger)) as ledger, ledger:
        ledger.execute("UPDATE runs SET status = 'RUNNING', finished_at = NULL WHERE id = 30")

    assert re.search(r"^running: +run 30 on cpu", run("status").stdout, re.MULTILINE)
    assert [row["id"] for row in json.loads(run("status", "--json").stdout)["running"]] == [30]


def test_commands_work_with_an_empty_ledger(run, tmp_path: Path):
    (tmp_path / "config.yaml").write_text("inbox: {path: .}\n")
    fill_ledger(tmp_path / "thoth-watch.db", n_runs=0)

    assert re.search(r"^backlog: +empty$", run("status").stdout, re.MULTILINE)
    assert run("runs").stdout == "no runs yet\n"
    assert run("files").stdout == "no files\n"
    assert run("tail").stdout == ""


def test_files_can_be_filtered_by_state_reason_folder_and_age(run, filled_ledger: Path):
    def paths(*options: str) -> list[str]:
        return [
            Path(row["path"]).name for row in json.loads(run("files", "--json", *options).stdout)
        ]

    assert paths("--state", "failed") == ["talk 26-0.wav"]
    assert paths("--reason", "DISK IS") == ["talk 13-0.wav"]
    assert len(paths("--match", "new/*")) == 6
    assert len(paths("--state", "DONE", "--limit", "5")) == 5
    n_files = len(paths())
    middle = "2026-11-23T09:00+00:00"
    assert 0 < len(paths("--since", middle)) < n_files
    assert len(paths("--since", middle)) + len(paths("--before", middle)) == n_files


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("state", {"state": "DONE", "files": 118}),
        ("reason", {"reason": "(done)", "files": 118}),
        ("folder", {"folder": "/srv/in/2026-11", "files": 120}),
    ],
)
def test_files_can_be_counted(run, filled_ledger: Path, by: str, first: dict[str, object]):
    groups = json.loads(run("files", "--by", by, "--json").stdout)

    assert groups[0] | first == groups[0]
    assert sum(group["files"] for group in groups) == 126
    header, line, *_ = run("files", "--by", by).stdout.splitlines()
    assert header.split()[-1] == by
    assert line.split()[0] == str(first["files"])


def test_files_are_counted_by_age(run, filled_ledger: Path):
    with closing(sqlite3.connect(filled_ledger)) as ledger, ledger:
        now = datetime.now(UTC)
        for n, hours in ((20, 0), (30, 5), (40, 100)):
            at = f"{now - timedelta(hours=hours):%Y-%m-%d %H:%M:%S.%f}Z"
            ledger.execute("UPDATE files SET updated_at = ? WHERE id % 3 = ?", (at, n % 3))

    groups = json.loads(run("files", "--by", "age", "--json").stdout)

    assert {group["age"] for group in groups} == {
        "less than an hour",
        "less than a day",
        "less than a week",
    }


def test_a_run_is_shown_with_requested_and_used_settings(run, filled_ledger: Path):
    text = run("runs", "show", "17").stdout

    assert re.search(r"^engine: +standard \(requested: batch\)$", text, re.MULTILINE)
    assert re.search(r"^generate +\d+\.\d\d$", text, re.MULTILINE)
    assert "standard on cpu in float32 instead of batch on cuda in auto" in text
    assert "/srv/in/2026-11/talk 17-0.wav" in text
    document = json.loads(run("runs", "show", "17", "--json").stdout)
    assert len(document["files"]) == 4
    missing = run("runs", "show", "31")
    assert missing.returncode == errors.EXIT_RETRY_LATER
    assert "thoth-watch runs" in missing.stderr


def test_a_run_shows_its_diarization_pipeline(run, filled_ledger: Path):
    with closing(sqlite3.connect(filled_ledger)) as ledger, ledger:
        ledger.execute(
            """UPDATE runs SET versions = '{"diarization": "a/pipeline@1"}' WHERE id = 5"""
        )

    assert "diarization:  a/pipeline@1\n" in run("runs", "show", "5").stdout
    assert "diarization" not in run("runs", "show", "6").stdout


def test_runs_can_be_limited_by_number_and_time(run, filled_ledger: Path):
    assert [row["id"] for row in json.loads(run("runs", "-n", "2", "--json").stdout)] == [30, 29]
    since = run("runs", "--since", "2026-11-23T11:00+00:00", "--json")
    assert [row["id"] for row in json.loads(since.stdout)] == [30, 29, 28, 27, 26, 25]
    invalid = run("runs", "--since", "yesterday")
    assert invalid.returncode == errors.EXIT_USAGE
    assert "7d" in invalid.stderr


def test_tail_prints_events_in_order(run, filled_ledger: Path):
    with closing(sqlite3.connect(filled_ledger)) as ledger, ledger:
        for number, (before, after) in enumerate([("SEEN", "READY"), ("READY", "CLAIMED")]):
            ledger.execute(
                "INSERT INTO transitions VALUES (?, 120, ?, ?, ?, 'because', 1)",
                (1000 + number, f"2026-11-24 00:00:0{number}.000000Z", before, after),
            )

    events = [json.loads(line) for line in run("tail", "--json", "-n", "9").stdout.splitlines()]

    subjects = [event.get("run_id", event.get("after")) for event in events]
    assert subjects[-2:] == ["READY", "CLAIMED"]
    assert 30 in subjects
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    last = run("tail", "-n", "1").stdout
    assert re.search(r"CLAIMED +/srv/in/2026-11/talk 30-0.wav +because$", last)


def test_tail_follows_new_events(filled_ledger: Path):
    command = [sys.executable, "-m", "thoth_watch", "tail", "-f", "--json", "-n", "1"]
    with subprocess.Popen(
        command, cwd=filled_ledger.parent, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            with closing(sqlite3.connect(filled_ledger)) as ledger, ledger:
                ledger.execute(
                    "INSERT INTO transitions VALUES (1000, 120, '2026-11-24 00:00:00.000000Z',"
                    " 'DONE', 'GONE', 'was deleted', 1)"
                )
            assert json.loads(process.stdout.readline())["after"] == "GONE"
        finally:
            process.kill()


def test_a_pipe_gets_one_plain_line_per_row_and_a_terminal_gets_colors(run, filled_ledger: Path):
    plain = run("files", "--state", "failed").stdout
    assert "\x1b" not in plain
    assert len(plain.splitlines()) == 2, "a header, and one line even for a long reason"

    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "thoth_watch", "files", "--state", "failed"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60"}
    environment.pop("NO_COLOR", None)
    subprocess.run(command, cwd=filled_ledger.parent, stdout=terminal, env=environment, check=True)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    assert "\x1b[31mFAILED" in shown
    assert len(shown.splitlines()) > 2, "long text is folded, not cut"


def add_results(filled_ledger: Path) -> None:
    """Add results to two DONE recordings: a good one of one model, a suspect one of another model."""
    with closing(sqlite3.connect(filled_ledger)) as connection, connection:
        ids = connection.execute("SELECT id FROM files WHERE state = 'DONE' LIMIT 2").fetchall()
        for (file_id,), model, verdict, reasons in (
            (ids[0], "tiny", "ok", []),
            (ids[1], "base", "suspect", ["5.0 s of speech and no words"]),
        ):
            connection.execute(
                "UPDATE files SET sha256 = ?, fingerprint = 'f' WHERE id = ?", (model, file_id)
            )
            connection.execute(
                "INSERT INTO results (sha256, fingerprint, transcript, provenance, created_at,"
                " language, verdict, duration_s) VALUES (?, 'f', ?, ?, '2026-01-01', 'en', ?, 1.0)",
                (
                    model,
                    json.dumps({"reasons": reasons}),
                    json.dumps({"model": model, "model_revision": f"sha256:{model}1"}),
                    verdict,
                ),
            )


def test_suspect_files_are_listed_with_reasons(run, filled_ledger: Path):
    add_results(filled_ledger)

    (row,) = json.loads(run("files", "--suspect", "--json").stdout)
    assert (row["verdict"], row["doubts"]) == ("suspect", ["5.0 s of speech and no words"])
    assert "5.0 s of speech and no words" in run("files", "--suspect").stdout


@pytest.mark.parametrize(
    ("model", "count"),
    [("tiny", 1), ("tiny@sha256:t", 1), ("tiny@sha256:x", 0), ("tin", 0), ("base", 1)],
)
def test_files_can_be_filtered_by_the_model_that_transcribed_them(
    run, filled_ledger: Path, model, count
):
    add_results(filled_ledger)

    rows = json.loads(run("files", "--made-by", model, "--json").stdout)

    assert [row["model"] for row in rows] == [model.partition("@")[0]] * count


def test_files_of_a_model_can_be_transcribed_again(run, filled_ledger: Path):
    add_results(filled_ledger)

    assert run("retry", "--made-by", "tiny").stdout == "1 file will be retried\n"
    assert run("retry", "--made-by", "tiny").stdout == "0 files will be retried\n"
    (row,) = json.loads(run("files", "--made-by", "tiny", "--json").stdout)
    assert (row["state"], row["attempts"]) == ("READY", 0)
    assert run("retry").returncode == errors.EXIT_USAGE
