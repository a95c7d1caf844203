"""Twelve mistakes of new users; the message for each of them suggests a fix."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import CommandResult
from tests.filled_ledger import fill_ledger
from thoth_watch.cli.doctor import check_ledger_file_system
from thoth_watch.domain import errors
from thoth_watch.infrastructure.ledger.reading import lock_path
from thoth_watch.infrastructure.service.lock import ProcessLock


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "inbox").mkdir()
    path = tmp_path / "config.yaml"
    path.write_text("inbox: {path: ./inbox, settle_s: 0}\n")
    return path


def line_containing(text: str, part: str) -> str:
    """Return the only line that contains `part`, with the fix if that is on the next line."""
    lines = text.splitlines()
    numbers = [n for n, line in enumerate(lines) if part in line]
    assert len(numbers) == 1, text
    fix = lines[numbers[0] + 1] if len(lines) > numbers[0] + 1 else ""
    return lines[numbers[0]] + (fix if fix.strip().startswith("->") else "")


def test_1_an_unknown_key(run, config: Path):
    config.write_text("inbox:\n  pth: ./inbox\n")
    done = run("run")
    assert done.returncode == errors.EXIT_CONFIG
    assert line_containing(done.stderr, "config.yaml:2").endswith("unknown key; did you mean path?")


def test_2_a_wrong_path(run, config: Path, tmp_path: Path):
    assert "name a readable file with --config" in line_containing(
        run("run", "-c", "conf.yaml").stderr, "conf.yaml"
    )
    (tmp_path / "inbox").rmdir()
    assert "mkdir -p" in line_containing(run("check", "--no-engine").stdout, f"inbox {tmp_path}")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv"
)
def test_3_missing_permissions(config: Path, tmp_path: Path):
    (tmp_path / "inbox").chmod(0o555)
    without_capabilities = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*without_capabilities, sys.executable, "-m", "thoth_watch", "check", "--no-engine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "give this user write permission" in line_containing(done.stdout, "not writable")


@pytest.mark.parametrize("output", [".", "./inbox/texts"])
def test_4_the_inbox_inside_the_output_folder_or_the_reverse(run, config: Path, output: str):
    config.write_text(f"inbox: {{path: ./inbox}}\ntranscript: {{output_dir: {output}}}\n")
    line = line_containing(run("check", "--no-engine").stdout, "the inbox")
    assert "a folder outside every inbox" in line


def test_5_a_misspelled_model(run, config: Path):
    done = run("check", "--model", "openai/whisper-smal")
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "did you mean openai/whisper-small?" in line_containing(done.stdout, "fail  engine")


def test_6_a_port_in_use(run, config: Path, tmp_path: Path):
    fill_ledger(tmp_path / "thoth-watch.db", n_runs=1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run("metrics", "--port", str(server.getsockname()[1]))
    assert done.returncode == errors.EXIT_CONFIG
    assert "choose another one with --port" in line_containing(
        done.stderr, "Address already in use"
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs permission to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_7_a_full_disk(run, config: Path, full_disk: Path):
    config.write_text(f"inbox: {{path: ./inbox}}\nledger: {{url: 'sqlite:///{full_disk}/l.db'}}\n")
    assert "free some space" in line_containing(
        run("check", "--no-engine").stdout, "room for ledger"
    )
    done = run("once")
    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "the disk is full; free some space" in line_containing(done.stderr, f"{full_disk}/l.db")


def test_8_no_gpu(run, config: Path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = run("check", "--device", "cuda")
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "this machine has cpu; set engine.device: auto" in line_containing(
        done.stdout, "fail  engine"
    )


def test_9_a_ledger_on_a_network_share():
    (finding,) = check_ledger_file_system("sqlite:////share/l.db", file_system="nfs4")
    assert "network share" in finding.detail
    assert "local disk" in finding.fix
    assert list(check_ledger_file_system("sqlite:////disk/l.db", file_system="ext4")) == []
    assert list(check_ledger_file_system("postgresql://host/name", file_system="nfs4")) == []


def test_10_two_daemons(run, config: Path, tmp_path: Path):
    with ProcessLock(lock_path(f"sqlite:///{tmp_path}/thoth-watch.db")):
        done: CommandResult = run("run")
    assert done.returncode == errors.EXIT_RETRY_LATER
    line = line_containing(done.stderr, "is using this ledger")
    assert f"process {os.getpid()}" in line
    assert "stop it" in line


def test_11_a_wrong_clock(run, config: Path, tmp_path: Path):
    recording = tmp_path / "inbox/from-tomorrow.wav"
    recording.write_bytes(b"RIFF")
    tomorrow = time.time() + 86_400
    os.utime(recording, (tomorrow, tomorrow))
    assert "timedatectl set-ntp true" in line_containing(
        run("check", "--no-engine").stdout, "in the future"
    )


def test_12_a_file_that_is_still_being_copied(run, config: Path, tmp_path: Path):
    from thoth_watch.application.watch_inbox import REASON_WRITER, WatchInbox
    from thoth_watch.bootstrap import build_decoder
    from thoth_watch.infrastructure.inbox import FolderInbox
    from thoth_watch.infrastructure.inbox.local_files import LocalFiles
    from thoth_watch.infrastructure.ledger import SqlLedger
    from thoth_watch.infrastructure.service.clock import SystemClock

    with (
        (tmp_path / "inbox/talk.wav").open("wb") as copy,
        SqlLedger.open(f"sqlite:///{tmp_path}/thoth-watch.db") as ledger,
    ):
        copy.write(b"RIFF half of it")
        copy.flush()
        decoder = build_decoder()
        watch = WatchInbox(
            FolderInbox(tmp_path / "inbox"),
            ledger=ledger.inbox,
            files=LocalFiles(),
            decoder=decoder,
            clock=SystemClock(),
            settle_s=0.0,
        )
        for _ in range(3):
            watch.scan()
        decoder.close()
        line = line_containing(run("status").stdout, "talk.wav")
    assert "SEEN" in line
    assert REASON_WRITER in line
