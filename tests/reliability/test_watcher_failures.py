"""Lost events, failing watchers, and inboxes that disappear and return."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.workspace import Workspace

full = pytest.mark.reliability


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "n_files",
    [2_000, pytest.param(20_000, marks=full), pytest.param(100_000, marks=pytest.mark.nightly)],
)
def test_no_file_of_a_flood_is_missed_when_events_are_lost(workspace: Workspace, n_files: int):
    """The daemon is stopped while the files arrive; 20,000 of them overflow inotify's queue (16,384)."""
    # files get a row but do not settle: only detection is tested
    workspace.configure(inbox={"settle_s": 3600.0})
    daemon = workspace.start("run")
    workspace.wait_for(lambda: "engine loaded" in workspace.log(), daemon)
    daemon.send_signal(signal.SIGSTOP)
    for n in range(n_files):
        file = os.open(workspace.inbox / f"{n}.wav", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"x")
        os.close(file)
    (workspace.inbox / "late").mkdir()
    (workspace.inbox / "late" / "last.wav").write_bytes(b"x")
    daemon.send_signal(signal.SIGCONT)
    workspace.wait_for(lambda: workspace.count_files("SEEN") == n_files + 1, daemon)

    status = Path(f"/proc/{daemon.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 500 * 1024  # KiB
    daemon.terminate()
    assert daemon.wait(60) == 0


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def rename_inbox(workspace: Workspace) -> Callable[[], None]:
    workspace.inbox.rename(workspace.folder / "elsewhere")
    return lambda: (workspace.folder / "elsewhere").rename(workspace.inbox) and None


def mount_over_inbox(workspace: Workspace) -> Callable[[], None]:
    mount("-t", "tmpfs", "none", workspace.inbox)
    return lambda: subprocess.run(["umount", "-l", workspace.inbox], check=True) and None


def unmount_inbox(workspace: Workspace) -> Callable[[], None]:
    """Unmount the inbox, which was on its own disk from the start; see `mount_inbox_disk`."""
    subprocess.run(["umount", "-l", workspace.inbox], check=True)
    return lambda: mount("--bind", workspace.folder / "disk" / "inbox", workspace.inbox)


def mount_inbox_disk(workspace: Workspace) -> None:
    disk = workspace.folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "none", disk)
    (disk / "inbox").mkdir()
    mount("--bind", disk / "inbox", workspace.inbox)


REMOVAL_METHODS = {
    "renamed": rename_inbox,
    "mounted over": mount_over_inbox,
    "unmounted": unmount_inbox,
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("method", "n_times"),
    [("mounted over", 1), *(pytest.param(method, 5, marks=full) for method in REMOVAL_METHODS)],
)
def test_an_inbox_that_disappears_loses_nothing_and_is_watched_again_when_it_returns(
    workspace: Workspace, method: str, n_times: int
):
    if "mounted" in method and os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if method == "unmounted":
        mount_inbox_disk(workspace)
    try:
        workspace.configure(inbox={"rescan_s": 0.5})
        daemon = workspace.start("run")
        for cycle in range(n_times):
            workspace.drop(f"{cycle}-before.wav", seed=2 * cycle)
            workspace.wait_for(
                lambda: workspace.count_files("DONE") == len(workspace.expected), daemon
            )
            n_warnings = count_warnings(workspace) + 1
            restore = REMOVAL_METHODS[method](workspace)
            workspace.wait_for(partial(has_warned, workspace, n_warnings), daemon)
            assert workspace.count_files("GONE") == 0
            restore()
            workspace.drop(f"{cycle}-after.wav", seed=2 * cycle + 1)
            workspace.wait_for(
                lambda: workspace.count_files("DONE") == len(workspace.expected), daemon
            )
        daemon.terminate()
        assert daemon.wait(60) == 0
        workspace.check_nothing_is_lost()
        gone = workspace.query("SELECT count(*) FROM transitions WHERE after = 'GONE'")
        assert gone == [(0,)]
        assert workspace.query("SELECT max(generation) FROM files") == [(1,)]
    finally:
        if method == "unmounted":
            for mounted in (workspace.inbox, workspace.folder / "disk"):
                subprocess.run(["umount", "-l", mounted], capture_output=True, check=False)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("failure_mode", "n_times"),
    [("emitter", 1), *(pytest.param(mode, 5, marks=full) for mode in ("emitter", "handler"))],
)
def test_a_watcher_that_dies_silently_is_replaced(
    workspace: Workspace, failure_mode: str, n_times: int
):
    """watchdog's observer keeps running when its emitter ends, and dies when its handler raises."""
    workspace.configure(inbox={"rescan_s": 1.0})
    daemon = workspace.start("run", WATCHER_BREAKS=failure_mode)
    workspace.wait_for(lambda: "engine loaded" in workspace.log(), daemon)
    for cycle in range(n_times):
        daemon.send_signal(signal.SIGUSR1)
        workspace.drop(f"{cycle}.wav", seed=cycle)
        workspace.wait_for(partial(has_watcher_restarted, workspace, cycle + 1), daemon)
        workspace.wait_for(lambda: workspace.count_files("DONE") == len(workspace.expected), daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0

    workspace.check_nothing_is_lost()
    assert workspace.query("SELECT count(*) FROM transitions WHERE after = 'GONE'") == [(0,)]


def has_watcher_restarted(workspace: Workspace, times: int) -> bool:
    return (workspace.folder / "log.txt").read_text().count("file watcher stopped") >= times


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_times", [1, pytest.param(5, marks=full)])
def test_a_deleted_inbox_is_watched_again_when_it_is_recreated(workspace: Workspace, n_times: int):
    workspace.configure(inbox={"rescan_s": 0.5})
    daemon = workspace.start("run")
    workspace.wait_for(lambda: "engine loaded" in workspace.log(), daemon)
    for cycle in range(n_times):
        n_warnings = count_warnings(workspace) + 1
        shutil.rmtree(workspace.inbox)
        workspace.wait_for(partial(has_warned, workspace, n_warnings), daemon)
        workspace.inbox.mkdir()
        workspace.expected.clear()
        workspace.drop(f"{cycle}.wav", seed=cycle)
        workspace.wait_for(lambda n=cycle + 1: workspace.count_files("DONE") == n, daemon)
    daemon.terminate()
    assert daemon.wait(60) == 0
    assert workspace.query("SELECT count(*) FROM transitions WHERE after = 'GONE'") == [(0,)]


LIMIT_WATCHES_COMMAND = 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"'


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_times", [1, pytest.param(5, marks=full)])
def test_folders_beyond_the_inotify_limit_are_reported_and_scanned(ram_folder: Path, n_times: int):
    """A user namespace limits inotify to five of eleven folders, which watchdog does not report."""
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", LIMIT_WATCHES_COMMAND, "sh"]
    if subprocess.run([*limited, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not create a user namespace")
    for cycle in range(n_times):
        workspace = Workspace(ram_folder / f"{cycle}", inbox={"rescan_s": 1.0})
        for n in range(10):
            (workspace.inbox / f"{n}").mkdir()
        daemon = workspace.start("run", prefix=limited)
        workspace.wait_for(lambda p=workspace: "watches too few folders" in p.log(), daemon)
        for n in range(10):
            workspace.drop(f"{n}/{n}.wav", seed=n)
        workspace.wait_for(lambda p=workspace: p.count_files("DONE") == 10, daemon)
        daemon.terminate()
        assert daemon.wait(60) == 0
        workspace.check_nothing_is_lost()


def count_warnings(workspace: Workspace) -> int:
    """Return the number of warnings in the log that the inbox cannot be read."""
    return (workspace.folder / "log.txt").read_text().count("cannot be read completely")


def has_warned(workspace: Workspace, times: int) -> bool:
    return count_warnings(workspace) >= times
