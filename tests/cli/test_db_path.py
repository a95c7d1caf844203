"""`db path` and `db shell`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.filled_ledger import fill_ledger
from thoth_watch.domain import errors


@pytest.fixture
def filled_ledger(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("inbox: {path: .}\nledger: {url: 'sqlite:///a b.db'}\n")
    return fill_ledger(tmp_path / "a b.db", n_runs=3)


def test_path_prints_the_path_of_the_ledger(run, filled_ledger: Path):
    assert run("db", "path").stdout == f"{filled_ledger}\n"


def test_path_of_a_missing_ledger_suggests_how_to_create_it(run, filled_ledger: Path):
    filled_ledger.unlink()
    done = run("db", "path")
    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "`run` or `once` creates it" in done.stderr


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed")
def test_shell_opens_the_ledger_read_only(filled_ledger: Path):
    def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "thoth_watch", "db", "shell", *arguments]
        return subprocess.run(
            command, cwd=filled_ledger.parent, capture_output=True, text=True, check=False
        )

    assert shell("--", "-csv", "SELECT id, status FROM runs").stdout.split() == [
        "1,DONE",
        "2,DONE",
        "3,DONE",
    ]
    assert "readonly" in shell("DELETE FROM runs").stderr


def test_shell_without_sqlite3_names_the_package_to_install(
    run, filled_ledger: Path, tmp_path: Path
):
    done = run("db", "shell", PATH=str(tmp_path))
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "apt install sqlite3" in done.stderr
