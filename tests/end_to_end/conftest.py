"""Fixtures: a workspace with an inbox, a configuration and a tiny Whisper model, and the program run in it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.infrastructure.whisper.conftest import make_whisper

RATE_HZ = 16_000
TIMEOUT_S = 900.0  # a start imports torch, which is slow on a busy machine
FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "w64.wav", "caf")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with random weights; its text is noise, but the same in every run."""
    return make_whisper(tmp_path_factory.mktemp("model") / "tiny")


def make_samples(seed: int, seconds: float) -> np.ndarray:
    """Return bursts of a tone that is unique to the seed, so that no two recordings are equal."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    bursts = np.clip(np.sin(2 * np.pi * t * (0.5 + random.random())), 0, None)
    tone = np.sin(2 * np.pi * (150 + 800 * random.random()) * t)
    return (0.4 * tone * bursts + 0.02 * random.standard_normal(len(t))).astype(np.float32)


def write_recording(path: Path, *, seed: int, seconds: float = 2.0) -> Path:
    """Write a recording in the format of its suffix and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container = {"opus": "OGG", "oga": "OGG"}.get(path.suffix[1:])
    subtype = "OPUS" if path.suffix == ".opus" else None
    soundfile.write(path, make_samples(seed, seconds), RATE_HZ, format=container, subtype=subtype)
    return path


@dataclass
class Workspace:
    """A folder with everything that the program needs, and access to its results."""

    folder: Path
    model: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "config.yaml"
        self.database = self.folder / "thoth-watch.db"

    def configure(self, **sections: Any) -> None:
        """Write config.yaml as JSON, which is valid YAML."""
        document: dict[str, Any] = {
            "inbox": {"path": "./inbox", "settle_s": 1.0},
            "engine": {"engine_type": "batch", "model": str(self.model), "language": "en"},
            "transcript": {"formats": ["txt", "json"]},
            "ledger": {"url": "sqlite:///thoth-watch.db"},
        }
        for section, values in sections.items():
            document[section] = {**document.get(section, {}), **values}
        self.config.write_text(json.dumps(document, indent=1))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the program in the background."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "thoth_watch", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program until it ends."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return rows of the ledger, read as any other tool would read them."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def states(self) -> dict[str, str]:
        """Return each file's state by file name."""
        return {
            Path(path).name: state for path, state in self.query("SELECT path, state FROM files")
        }

    def transcripts(self, format_name: str = "txt") -> list[Path]:
        """Return all files of that format below the inbox."""
        return sorted(self.inbox.rglob(f"*.{format_name}"))

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Wait until the condition holds; fail if the process ends first or after TIMEOUT_S."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            try:
                if self.database.exists() and condition():
                    return
            except sqlite3.OperationalError:
                pass  # the ledger is being created
            if process.poll() is not None:
                pytest.fail(f"the program ended: {process.communicate()}")
            time.sleep(0.1)
        pytest.fail(f"timed out; {self.states()}")


@pytest.fixture
def workspace(tmp_path: Path, tiny_model: Path) -> Workspace:
    created = Workspace(tmp_path / "workspace", tiny_model)
    created.configure()
    return created


@pytest.fixture
def background_processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Yield a list; processes that are added to it are killed after the test."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
