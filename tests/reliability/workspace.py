"""A folder for the program, recordings whose transcript is known beforehand, and what must hold at the end."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE_HZ = 16_000
REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 1_200.0  # machines are shared; nothing here depends on how long it takes


def write_recording(path: Path, *, seed: int, seconds: float = 0.25) -> str:
    """A recording of its own; what the hashing engine will write of it."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE_HZ))
    pcm = (samples * 32_767).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # a descriptor: soundfile takes no odd names
        soundfile.write(file, pcm, RATE_HZ, format="WAV", subtype="PCM_16")
    return hash_samples(pcm.astype(np.float32) / np.float32(32_768))


def hash_samples(samples: np.ndarray) -> str:
    """What the hashing engine writes of these samples."""
    return hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest() + "\n"


class Workspace:
    """An inbox, a configuration and a ledger, and the program run there as a process."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yaml"
        self.database = folder / "state" / "thoth-watch.db"
        self.expected: dict[Path, str] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self.configure(**sections)

    def configure(self, **sections: Any) -> None:
        """Write config.yaml; JSON is a part of YAML."""
        document: dict[str, Any] = {
            "inbox": {"path": str(self.inbox), "settle_s": 0.1, "rescan_s": 2.0},
            "batch": {"max_files": 8, "max_wait_s": 0},
            "engine": {"vad": "off"},  # recordings here are noise, of which every sample counts
            "transcript": {"formats": ["txt"]},
            "ledger": {"url": f"sqlite:///{self.database}"},
        }
        for section, values in sections.items():
            document[section] = {**document.get(section, {}), **values}
        self.config.write_text(json.dumps(document))

    def drop(self, name: str, *, seed: int) -> Path:
        """Put a recording into the inbox, whole at once, as a careful writer does."""
        temp = self.inbox / f".{seed}.part"
        path = self.inbox / name
        text = write_recording(temp, seed=seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp.rename(path)
        self.expected[path] = text
        return path

    def start(
        self, *arguments: str, prefix: Sequence[str | Path] = (), **environment: str
    ) -> subprocess.Popen[str]:
        """The program in the background, under another one if that is asked; its words go to a file."""
        program = [sys.executable, "-m", "tests.reliability.program", *arguments]
        with (self.folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [*prefix, *program, "-c", self.config],
                cwd=REPOSITORY,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
                text=True,
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left running, so that no other test fails of it."""
        for process in self._processes:
            process.kill()
            process.wait()

    def run(self, *arguments: str, prefix: Sequence[str | Path] = (), **environment: str) -> int:
        """The program until its end; its exit code."""
        process = self.start(*arguments, prefix=prefix, **environment)
        try:
            return process.wait(TIMEOUT_S)
        finally:
            process.kill()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger, as any tool would read them."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def count_files(self, state: str) -> int:
        """Files in that state."""
        return int(self.query(f"SELECT count(*) FROM files WHERE state = '{state}'")[0][0])

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Until it is so; fails when the process has ended."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except sqlite3.OperationalError:
                pass  # the ledger is being made
            if process.poll() is not None:
                pytest.fail(f"the program ended: {self.log()}")
            time.sleep(0.05)
        pytest.fail(f"waited in vain: {self.log()}")

    def log(self) -> str:
        """What the program has said lately."""
        return (self.folder / "log.txt").read_text()[-3_000:]

    def check_nothing_is_lost(self) -> None:
        """Every recording DONE with exactly its own transcript, once; nothing else in the inbox."""
        states = {
            Path(os.fsdecode(p)): s for p, s in self.query("SELECT path_raw, state FROM files")
        }
        assert states == dict.fromkeys(self.expected, "DONE"), self.log()
        for path, text in self.expected.items():
            assert path.with_suffix(".txt").read_text() == text
        transcripts = {path.with_suffix(".txt") for path in self.expected}
        on_disk = {p for p in self.inbox.rglob("*") if p.is_file()}
        assert on_disk == transcripts | set(self.expected)
        published = self.query("SELECT count(*) FROM publications WHERE sha256 IS NOT NULL")
        assert published == [(len(self.expected),)]
        self.check_ledger()

    def check_ledger(self) -> None:
        """The ledger is sound, and nothing in it is still under way."""
        assert self.query("PRAGMA integrity_check") == [("ok",)]
        assert self.query("PRAGMA foreign_key_check") == []
        assert self.query("SELECT count(*) FROM runs WHERE status = 'RUNNING'") == [(0,)]
