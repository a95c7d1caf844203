"""A disk that fills up and is freed again; several programs on one inbox."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.workspace import TIMEOUT_S, Workspace
from thoth_watch.domain.errors import EXIT_RETRY_LATER

full = pytest.mark.reliability


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of a file system of 2 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill_disk(disk: Path) -> Path:
    """Fill the disk's free space with a file and return the file."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("full_place", ["inbox", "ledger", "both"])
def test_the_service_waits_while_a_disk_is_full_and_fails_no_file(
    tmp_path: Path, small_disk: Path, full_place: str
):
    workspace = Workspace(tmp_path / "workspace", batch={"max_files": 4})
    if full_place in {"inbox", "both"}:
        workspace.inbox = small_disk / "inbox"
        workspace.inbox.mkdir()
    if full_place in {"ledger", "both"}:
        workspace.database = small_disk / "state" / "thoth-watch.db"
    workspace.configure(batch={"max_files": 4})
    daemon = workspace.start("run")
    workspace.wait_for(lambda: "engine loaded" in workspace.log(), daemon)
    try:
        for cycle in range(3):
            for n in range(4):
                workspace.drop(f"{cycle}-{n}.wav", seed=4 * cycle + n)
            ballast = fill_disk(small_disk)
            n_warnings = count_warnings(workspace)
            workspace.wait_for(partial(has_warned, workspace, n_warnings + 1), daemon)
            ballast.unlink()
            workspace.wait_for(partial(is_all_done, workspace), daemon)
        daemon.terminate()
        assert daemon.wait(60) == 0
        workspace.check_nothing_is_lost()
        blamed = workspace.query(
            "SELECT count(*) FROM transitions WHERE after IN ('FAILED', 'QUARANTINED', 'CONFLICT')"
        )
        assert blamed == [(0,)]
    finally:
        daemon.kill()


def has_warned(workspace: Workspace, times: int) -> bool:
    """Return True if the log warns of the full disk `times` times, or the ledger does at all."""
    query = "SELECT count(*) FROM files WHERE reason LIKE '%free some space%'"
    in_ledger = workspace.query(query)[0][0]
    return bool(in_ledger) or count_warnings(workspace) >= times


def count_warnings(workspace: Workspace) -> int:
    return (workspace.folder / "log.txt").read_text().count("free some space")


def is_all_done(workspace: Workspace) -> bool:
    return workspace.count_files("DONE") == len(workspace.expected)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_files", [10, pytest.param(500, marks=full)])
def test_only_the_first_of_several_programs_runs_and_the_others_exit(
    workspace: Workspace, n_files: int
):
    daemon = workspace.start("run", ENGINE_TAKES_S="0.01")
    workspace.wait_for(lambda: "engine loaded" in workspace.log(), daemon)
    other_programs, status_calls = [], []
    for n in range(n_files):
        workspace.drop(f"{n}.wav", seed=n)
        if n % 200 == 5:
            other_programs += [workspace.start("once"), workspace.start("run")]
            status_calls.append(workspace.start("status"))
    assert {program.wait(TIMEOUT_S) for program in other_programs} == {EXIT_RETRY_LATER}
    assert {call.wait(TIMEOUT_S) for call in status_calls} == {0}
    workspace.wait_for(partial(is_all_done, workspace), daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0

    workspace.check_nothing_is_lost()
    claims = workspace.query(
        "SELECT count(*) FROM transitions WHERE after = 'CLAIMED' GROUP BY file_id HAVING count(*) > 1"
    )
    assert claims == []
    assert "locked" not in (workspace.folder / "log.txt").read_text()
