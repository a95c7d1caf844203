"""`db check`, `db backup` and `db rebuild` on ledgers that the program itself created."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.reliability.workspace import Workspace
from thoth_watch.domain.errors import EXIT_CONFIG, EXIT_RETRY_LATER
from thoth_watch.infrastructure.service.lock import ProcessLock


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(
        tmp_path / "workspace",
        transcript={"formats": ["txt", "json"], "name": "{stem}.{language}.{format}"},
    )
    for n in range(3):
        workspace.drop(f"{n}.wav", seed=n)
    assert workspace.run("once") == 0, workspace.log()
    return workspace


def corrupt(database: Path) -> None:
    """Overwrite pages in the middle, as a failing disk would."""
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 3 * 4096)


def test_a_ledger_is_checked_and_copied_unless_it_is_damaged(workspace: Workspace, run):
    config = ("-c", str(workspace.config))
    assert run("db", "check", *config).stdout == f"{workspace.database}: ok\n"

    copy = workspace.folder / "copy.db"
    assert run("db", "backup", str(copy), *config).stdout == f"{copy}\n"
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM files WHERE state='DONE'").fetchone() == (
            3,
        )
    second = run("db", "backup", str(copy), *config)
    assert (second.returncode, "left alone" in second.stderr) == (EXIT_RETRY_LATER, True)
    assert run("db", "backup", *config).stdout.strip().endswith(".backup")
    assert not list(workspace.database.parent.glob(".*.tmp"))

    corrupt(workspace.database)
    checked = run("db", "check", *config)
    assert checked.returncode == EXIT_CONFIG
    assert "damaged" in checked.stderr
    assert run("db", "backup", str(workspace.folder / "bad.db"), *config).returncode == EXIT_CONFIG
    assert not (workspace.folder / "bad.db").exists()


def test_a_rebuilt_ledger_adopts_transcripts_and_transcribes_nothing_again(
    workspace: Workspace, run
):
    config = ("-c", str(workspace.config))
    corrupt(workspace.database)
    (workspace.inbox / "1.en.json").unlink()  # a transcript without it is not recognized as ours
    (workspace.inbox / "1.en.txt").write_text("edited by a user\n")
    texts = {path: path.read_bytes() for path in workspace.inbox.iterdir()}
    rebuilt = run("db", "rebuild", *config)

    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "recordings with a transcript: 2; waiting for `run`: 1" in rebuilt.stdout
    assert list(workspace.database.parent.glob("thoth-watch.db.aside-*"))
    assert {path: path.read_bytes() for path in workspace.inbox.iterdir()} == texts
    assert workspace.query("SELECT count(*) FROM publications") == [(4,)]

    assert workspace.run("once") == 1  # the edited file is kept: a CONFLICT
    rows = dict(workspace.query("SELECT path, state FROM files"))
    assert sorted(rows.values()) == ["CONFLICT", "DONE", "DONE"]
    assert workspace.query("SELECT count(*) FROM run_files") == [(1,)]
    assert {path: path.read_bytes() for path in texts} == texts


def test_a_ledger_is_not_rebuilt_while_a_daemon_is_running(workspace: Workspace, run):
    with ProcessLock(workspace.database.with_name("thoth-watch.db.lock")):
        refused = run("db", "rebuild", "-c", str(workspace.config))

    assert refused.returncode == EXIT_RETRY_LATER
    assert "is using this ledger" in refused.stderr
    assert not list(workspace.database.parent.glob("*.aside-*"))
