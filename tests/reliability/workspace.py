"""A folder to run the program in, recordings with known transcripts, and checks of the final state."""

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
TIMEOUT_S = 1_200.0  # generous, as machines are shared; no test measures time with it


def write_recording(path: Path, *, seed: int, seconds: float = 0.25) -> str:
    """Write noise that is unique to the seed; return the text that the hashing engine writes for it."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE_HZ))
    pcm = (samples * 32_767).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # soundfile cannot open unusual names, but takes an open file
        soundfile.write(file, pcm, RATE_HZ, format="WAV", subtype="PCM_16")
    return hash_samples(pcm.astype(np.float32) / np.float32(32_768))


def hash_samples(samples: np.ndarray) -> str:
    """Return the text that the hashing engine writes for these samples."""
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
        """Write config.yaml as JSON, which is valid YAML."""
        document: dict[str, Any] = {
            "inbox": {"path": str(self.inbox), "settle_s": 0.1, "rescan_s": 2.0},
            "batch": {"max_files": 8, "max_wait_s": 0},
            "engine": {"vad": "off"},  # the recordings are noise, which VAD would drop
            "transcript": {"formats": ["txt"]},
            "ledger": {"url": f"sqlite:///{self.database}"},
        }
        for section, values in sections.items():
            document[section] = {**document.get(section, {}), **values}
        self.config.write_text(json.dumps(document))

    def drop(self, name: str, *, seed: int) -> Path:
        """Put a complete recording into the inbox by a single rename."""
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
        """Start the program in the background, after `prefix` if given; its output goes to a file."""
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
        """Kill the processes that a failed test left running, so that they do not break other tests."""
        for process in self._processes:
            process.kill()
            process.wait()

    def run(self, *arguments: str, prefix: Sequence[str | Path] = (), **environment: str) -> int:
        """Run the program until it ends and return its exit code."""
        process = self.start(*arguments, prefix=prefix, **environment)
        try:
            return process.wait(TIMEOUT_S)
        finally:
            process.kill()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return rows of the ledger, read as any other tool would read them."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def count_files(self, state: str) -> int:
        """Return the number of files in that state."""
        return int(self.query(f"SELECT count(*) FROM files WHERE state = '{state}'")[0][0])

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Wait until the condition holds; fail if the process ends first or after TIMEOUT_S."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except sqlite3.OperationalError:
                pass  # the ledger is being created
            if process.poll() is not None:
                pytest.fail(f"the program ended: {self.log()}")
            time.sleep(0.05)
        pytest.fail(f"timed out: {self.log()}")

    def log(self) -> str:
        """Return the end of the program's output."""
        return (self.folder / "log.txt").read_text()[-3_000:]

    def check_nothing_is_lost(self) -> None:
        """Check that each recording is DONE with exactly its own transcript and the inbox holds nothing else."""
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
        """Check that the ledger is intact and that no run in it is RUNNING."""
        assert self.query("PRAGMA integrity_check") == [("ok",)]
        assert self.query("PRAGMA foreign_key_check") == []
        assert self.query("SELECT count(*) FROM runs WHERE status = 'RUNNING'") == [(0,)]
