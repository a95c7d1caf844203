"""A place with an inbox, a configuration and a tiny Whisper, and the program run in it."""

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
TIMEOUT_S = 900.0  # a start imports torch, which takes long on a busy machine
FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "w64.wav", "caf")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: what it writes is noise, but it writes it the same way every time."""
    return make_whisper(tmp_path_factory.mktemp("model") / "tiny")


def make_samples(seed: int, seconds: float) -> np.ndarray:
    """A tone of its own in bursts, so that no two recordings are the same."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    bursts = np.clip(np.sin(2 * np.pi * t * (0.5 + random.random())), 0, None)
    tone = np.sin(2 * np.pi * (150 + 800 * random.random()) * t)
    return (0.4 * tone * bursts + 0.02 * random.standard_normal(len(t))).astype(np.float32)


def write_recording(path: Path, *, seed: int, seconds: float = 2.0) -> Path:
    """A recording in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container = {"opus": "OGG", "oga": "OGG"}.get(path.suffix[1:])
    subtype = "OPUS" if path.suffix == ".opus" else None
    soundfile.write(path, make_samples(seed, seconds), RATE_HZ, format=container, subtype=subtype)
    return path


@dataclass
class Workspace:
    """A folder with everything that the program needs, and what it has done there."""

    folder: Path
    model: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "config.yaml"
        self.database = self.folder / "thoth-watch.db"

    def configure(self, **sections: Any) -> None:
        """Write config.yaml; it is YAML, of which JSON is a part."""
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
        """The program in the background."""
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
        """The program until its end."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger, as any tool would read them."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def states(self) -> dict[str, str]:
        """State by file name."""
        return {
            Path(path).name: state for path, state in self.query("SELECT path, state FROM files")
        }

    def transcripts(self, format_name: str = "txt") -> list[Path]:
        """All files of that format below the inbox."""
        return sorted(self.inbox.rglob(f"*.{format_name}"))

    def wait_for(self, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Until it is so, or the process has ended, or patience has."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            try:
                if self.database.exists() and condition():
                    return
            except sqlite3.OperationalError:
                pass  # the ledger is being made
            if process.poll() is not None:
                pytest.fail(f"the program ended: {process.communicate()}")
            time.sleep(0.1)
        pytest.fail(f"waited in vain; {self.states()}")


@pytest.fixture
def workspace(tmp_path: Path, tiny_model: Path) -> Workspace:
    made = Workspace(tmp_path / "place", tiny_model)
    made.configure()
    return made


@pytest.fixture
def background_processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes put in here are gone after the test, whatever happened."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
