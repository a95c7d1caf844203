"""`report`: the page is written, opened in a browser, or an error names the cause."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.filled_ledger import fill_ledger
from thoth_watch.domain import errors


@pytest.fixture
def filled_ledger(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("inbox: {path: .}\n")
    return fill_ledger(tmp_path / "thoth-watch.db", n_runs=20)


def test_the_page_is_written_to_the_given_path(run, filled_ledger: Path, tmp_path: Path):
    done = run("report")
    assert (done.returncode, done.stdout) == (0, "wrote thoth-watch-report.html\n")
    page = (tmp_path / "thoth-watch-report.html").read_text()
    assert "20 runs" in page
    assert f"sqlite:///{filled_ledger}" in page

    assert run("report", "-o", "all.html", "--since", "2026-11-23T11:00+00:00").returncode == 0
    assert "6 runs" in (tmp_path / "all.html").read_text()


def test_the_error_names_a_path_that_cannot_be_written(run, filled_ledger: Path):
    done = run("report", "-o", "missing/page.html")

    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "missing/page.html" in done.stderr


def test_without_the_extra_the_error_names_it(filled_ledger: Path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from thoth_watch.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "report"]
    done = subprocess.run(
        command,
        cwd=filled_ledger.parent,
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "pip install 'thoth-watch[report]'" in done.stderr


def test_open_shows_the_page_in_the_browser(run, filled_ledger: Path, tmp_path: Path):
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > shown\n')
    browser.chmod(0o755)

    assert run("report", "--open", BROWSER=str(browser)).returncode == 0
    assert (tmp_path / "shown").read_text().strip().endswith("/thoth-watch-report.html")
