"""Planted symlinks and swapped names: nothing outside is read or written, and no user file changes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import publish_one
from tests.reliability.workspace import REPOSITORY, TIMEOUT_S, Workspace, write_recording
from thoth_watch.application.ports.publishing import Output
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.infrastructure.publishing import DurablePublisher

full = pytest.mark.reliability
REFERENCE_FILES = {
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{target}\n",
    "mpd": "<MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>\n",
}
NO_LANDLOCK = (
    "import thoth_watch.infrastructure.audio.landlock as l; l.restrict_process = lambda: False"
)


def create_hostile_entries(inbox: Path, secret: Path) -> int:
    """Create entries that lead to the secret or block if they are followed; return their number."""
    relative = os.path.relpath(secret, inbox)
    for kind, text in REFERENCE_FILES.items():
        for number, target in enumerate((secret, f"file:{secret}", relative)):
            for suffix in ("wav", "mp3"):
                (inbox / f"{kind}{number}.{suffix}").write_text(text.format(target=target))
        (inbox / f"{kind}.mp4").write_text(text.format(target=secret))
    (inbox / "link.wav").symlink_to(secret)
    (inbox / "relative.wav").symlink_to(relative)
    (inbox / "dangling.wav").symlink_to(secret.parent / "nothing")
    (inbox / "folder").symlink_to(secret.parent)
    (inbox / "folder.wav").symlink_to(secret.parent)
    (inbox / "loop").symlink_to(".")
    (inbox / "passwd.wav").symlink_to("/etc/passwd")
    (inbox / "descriptor.wav").symlink_to("/proc/self/fd/0")
    (inbox / "root.wav").symlink_to("/proc/self/root")
    (inbox / "zero.wav").symlink_to("/dev/zero")
    (inbox / "real.wav").mkdir()
    os.mkfifo(inbox / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(inbox / "socket.wav"))
    return len(list(inbox.iterdir()))


@full
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("prelude", ["", NO_LANDLOCK], ids=["landlock", "no-landlock"])
def test_nothing_outside_is_opened_and_no_secret_is_transcribed(workspace: Workspace, prelude: str):
    secret = workspace.folder / "outside" / "secret.wav"
    secret_text = write_recording(secret, seed=1)
    assert create_hostile_entries(workspace.inbox, secret) >= 40
    workspace.drop("honest.wav", seed=2)
    trace = workspace.folder / "opens"
    calls = "open,openat,openat2"
    strace = ["strace", "-f", "-y", "-qq", "-e", f"trace={calls}", "-o", str(trace)]
    command = [
        sys.executable,
        "-m",
        "tests.reliability.program",
        "once",
        "-c",
        str(workspace.config),
    ]
    environment = {**os.environ, "WORKER_PRELUDE": prelude}
    done = subprocess.run(
        [*strace, *command], cwd=REPOSITORY, env=environment, timeout=TIMEOUT_S, check=False
    )

    assert done.returncode == 1  # the hostile entries wait for a retry or are refused
    states = {Path(p).name: s for p, s in workspace.query("SELECT path, state FROM files")}
    assert states.pop("honest.wav") == "DONE"
    assert set(states.values()) <= {"RETRY", "REFUSED"}
    assert len(states) == 28 + 11
    opened = [line for line in trace.read_text().splitlines() if "= -1" not in line]
    assert any("honest.wav" in line for line in opened)  # the trace recorded opened files
    assert [line for line in opened if "outside" in line or "/etc/passwd" in line] == []
    transcripts = [p.read_text() for p in workspace.inbox.rglob("*.txt")]
    assert transcripts == [workspace.expected[workspace.inbox / "honest.wav"]]
    assert secret_text not in transcripts


ATTACKER_SCRIPT = """
import os, sys
folder, stash, victim, outside = sys.argv[1:]
os.chdir(folder)
n = 0
print("go", flush=True)
def quietly(act, *args, **named):
    try: act(*args, **named)
    except OSError: pass
def user_file(name):
    # a hard link named after the content shows at the end whether the user's file was changed
    global n
    n += 1
    try: file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except OSError: return
    os.write(file, b"user %d" % n); os.close(file)
    quietly(os.link, name, f"{stash}/{n}")
while True:
    for name in ("talk.txt", "talk.json"):
        for act in (lambda: os.symlink(victim, name), lambda: os.symlink(victim + ".new", name),
                    lambda: os.mkdir(name), lambda: os.mkfifo(name), lambda: user_file(name)):
            quietly(act)
            quietly(os.rename, name, f"{stash}/moved")
            quietly(os.rmdir, f"{stash}/moved"); quietly(os.unlink, f"{stash}/moved")
    quietly(os.rename, "sub", "sub-away"); quietly(os.symlink, outside, "sub")
    quietly(os.unlink, "sub"); quietly(os.rename, "sub-away", "sub")
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_publishes", [300, pytest.param(2_000, marks=full)])
def test_a_program_that_keeps_swapping_names_cannot_redirect_writes(
    ram_folder: Path, n_publishes: int
):
    folder, stash, outside = (ram_folder / name for name in ("inbox", "stash", "outside"))
    for path in (folder, stash, outside, folder / "sub"):
        path.mkdir()
    victim = ram_folder / "victim"
    victim.write_bytes(b"precious")
    attacker = subprocess.Popen(
        [sys.executable, "-c", ATTACKER_SCRIPT, *map(str, (folder, stash, victim, outside))],
        stdout=subprocess.PIPE,
    )
    outcomes = {"written": 0, "not written": 0}
    try:
        assert attacker.stdout is not None
        attacker.stdout.readline()
        publisher = DurablePublisher()
        paths = (folder / "talk.txt", folder / "talk.json", folder / "sub" / "talk.txt")
        for number in range(n_publishes):
            path = paths[number % len(paths)]
            try:
                publish_one(publisher, Output(path, b"text %d" % number, below=folder))
                outcomes["written"] += 1
            except (NameTaken, RetryLater):
                outcomes["not written"] += 1
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.communicate()

    assert min(outcomes.values()) > 0, outcomes  # both outcomes occurred: the programs did race
    assert victim.read_bytes() == b"precious"
    assert sorted(p.name for p in ram_folder.iterdir()) == ["inbox", "outside", "stash", "victim"]
    assert list(outside.iterdir()) == []
    kept = [p for p in stash.iterdir() if p.name.isdigit()]
    assert kept
    assert [p for p in kept if p.read_bytes() != b"user %s" % p.name.encode()] == []
    assert list(folder.rglob(".thoth-*")) == []
