"""Power cuts at random moments: each file that was reported as DONE is complete on the disk.

The disk is a file system in an image file. The program is stopped, the image is copied as it is, and
the next start finds the copy. A drive's own write cache is not simulated.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.reliability.workspace import TIMEOUT_S, Workspace

full = pytest.mark.reliability


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        for _ in range(100):
            if subprocess.run(["umount", at], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)


def can_mount(folder: Path) -> bool:
    """Return True if this user can mount an ext4 image on this machine."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4") or not shutil.which("losetup"):
        return False
    image = make_disk_image(folder / "probe.img")
    done = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False)
    if done.returncode == 0:
        subprocess.run(["umount", folder], check=False)
    image.unlink(missing_ok=True)
    return done.returncode == 0


def make_disk_image(image: Path) -> Path:
    with image.open("wb") as file:
        file.truncate(48 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    return image


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "n_cuts",
    [1, pytest.param(30, marks=full), pytest.param(300, marks=pytest.mark.nightly)],
)
def test_done_files_survive_a_power_cut(ram_folder: Path, n_cuts: int):
    if not can_mount(ram_folder):
        pytest.skip("mounting a file needs root, mkfs.ext4 and a loop device")
    rng = random.Random(n_cuts)
    n_acknowledged = 0
    for cut in range(n_cuts):
        image, snapshot = make_disk_image(ram_folder / f"{cut}.img"), ram_folder / f"{cut}.snapshot"
        with mounted(image, ram_folder / "disk"):
            workspace = Workspace(ram_folder / "disk" / "workspace", batch={"max_files": 4})
            for n in range(24):
                workspace.drop(f"{n}.wav", seed=n)
            os.sync()
            daemon = workspace.start("run")
            workspace.wait_for(partial(has_done_file, workspace), daemon)
            time.sleep(rng.uniform(0.0, 1.5))
            daemon.send_signal(signal.SIGSTOP)
            with Path(f"/proc/{daemon.pid}/stat").open() as stat:
                while stat.read().rpartition(")")[2].split()[0] != "T":
                    stat.seek(0)
            # reads the stopped program's write-ahead log: the files that it has reported as DONE
            done = {
                Path(p).name
                for (p,) in workspace.query("SELECT path FROM files WHERE state='DONE'")
            }
            shutil.copyfile(image, snapshot)
            daemon.kill()
            daemon.wait(TIMEOUT_S)
        image.unlink()
        with mounted(snapshot, ram_folder / "disk"):
            states = {Path(p).name: s for p, s in workspace.query("SELECT path, state FROM files")}
            for name in done:
                assert states[name] == "DONE"
                path = workspace.inbox / name
                assert path.with_suffix(".txt").read_text() == workspace.expected[path]
            for transcript in workspace.inbox.glob("*.txt"):
                assert transcript.read_text() == workspace.expected[transcript.with_suffix(".wav")]
            assert workspace.run("once") == 0, workspace.log()
            workspace.check_nothing_is_lost()
        snapshot.unlink()
        n_acknowledged += len(done)

    assert n_acknowledged >= n_cuts


def has_done_file(workspace: Workspace) -> bool:
    """Return True if at least one file is DONE."""
    return workspace.count_files("DONE") > 0


CALL_PATTERN = re.compile(r"(?P<call>\w+)\((?P<rest>.*)\)\s+=\s+(?P<result>-?\d+)")
UNFINISHED, RESUMED = " <unfinished ...>", re.compile(r"<\.\.\. \w+ resumed>")


@dataclass
class Step:
    """A system call that synced something or gave it a name; its first and last line in the trace."""

    kind: str
    thread: str
    first_line: int
    last_line: int


def parse_steps(trace: str, workspace: Workspace) -> list[Step]:
    """Return the successful calls in the order they ended; strace splits overlapping calls into two lines."""
    unfinished: dict[str, tuple[int, str]] = {}
    steps = []
    for number, line in enumerate(trace.splitlines()):
        thread, _, text = line.partition(" ")
        text, first = text.strip(), number
        if text.endswith(UNFINISHED):
            unfinished[thread] = number, text.removesuffix(UNFINISHED)
            continue
        if RESUMED.match(text):
            first, head = unfinished.pop(thread)
            text = head + RESUMED.sub("", text, count=1)
        match = CALL_PATTERN.search(text)
        if match and match["result"] == "0":
            kind = classify_call(match["call"], match["rest"], workspace)
            steps.append(Step(kind, thread, first, number))
    return steps


@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("n_files", [5, pytest.param(200, marks=full)])
def test_content_is_durable_before_its_name_and_its_name_before_done(tmp_path: Path, n_files: int):
    """Check the order: fsync of the content, link, fsync of the folder, commit of the ledger.

    Several threads sync contents; the thread that waits for them syncs the folder and commits DONE.
    """
    workspace = Workspace(tmp_path / "workspace", batch={"max_files": 64})
    for n in range(n_files):
        workspace.drop(f"{n}.wav", seed=n)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync,linkat"]
    assert workspace.run("once", prefix=strace) == 0, workspace.log()

    steps = parse_steps(trace.read_text(), workspace)
    links = [index for index, step in enumerate(steps) if step.kind == "link"]
    for index in links:
        link = steps[index]
        before = [s for s in steps[:index] if s.thread == link.thread]
        assert before[-1].kind == "content"
        folder = next((s for s in steps[index + 1 :] if s.kind == "folder"), None)
        assert folder is not None
        assert folder.first_line > link.last_line
        later_calls = [
            s for s in steps if s.thread == folder.thread and s.first_line > link.last_line
        ]
        assert later_calls[0] is folder, later_calls[:3]  # no commit before the folder is synced
        assert "ledger" in {s.kind for s in later_calls}  # DONE was synced, too
    assert len(links) == n_files


def classify_call(call: str, rest: str, workspace: Workspace) -> str:
    """Return what a system call makes durable: link, ledger, folder, content or other."""
    if call == "linkat":
        return "link" if str(workspace.inbox) in rest else "other"
    if str(workspace.database) in rest:
        return "ledger"
    is_folder = rest.endswith(f"<{workspace.inbox}>")
    return "folder" if is_folder else "content" if str(workspace.inbox) in rest else "other"
