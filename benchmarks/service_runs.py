"""Entry points of the measured processes: the main loop over real files, with a fake or timed engine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionResult
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.transcript import Segment, Transcript

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with an inbox, a configuration and a ledger."""

    folder: Path

    @property
    def inbox(self) -> Path:
        """The folder of the recordings."""
        return self.folder / "inbox"

    @property
    def database(self) -> Path:
        """The SQLite file of the ledger."""
        return self.folder / "ledger.db"

    def configure(self, **sections: Any) -> Path:
        """Write config.yaml (as JSON, which is valid YAML) and return its path."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "inbox": {"path": str(self.inbox), "settle_s": 0.5},
            "transcript": {"formats": ["txt"]},
            "ledger": {"url": f"sqlite:///{self.database}"},
            "log": {"level": "warning"},
        }
        document |= sections
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(document))
        return path


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write 16 kHz mono PCM without a library, because 100,000 files are written."""
    pcm = (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    header = b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt " + bytes(
        (16, 0, 0, 0, 1, 0, 1, 0)
    )  # fmt: skip
    header += RATE_HZ.to_bytes(4, "little") + (2 * RATE_HZ).to_bytes(4, "little")
    header += bytes((2, 0, 16, 0)) + b"data" + len(pcm).to_bytes(4, "little")
    path.write_bytes(header + pcm)


class FakeEngine:
    """An engine that immediately returns one word per recording and notes when it gets each."""

    load_s = 0.0
    fingerprint = "fake"
    fallbacks: tuple[Any, ...] = ()
    placement = Placement(
        "batch", "fake", "sha256:0", "cpu", "none", "float32", "no", 8, versions={}
    )

    def __init__(self) -> None:
        self.started_at: list[float] = []

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield a transcript of one word for each recording."""
        for recording in recordings:
            self.started_at.append(time.time())
            if should_stop():
                return
            length_s = recording.duration_s
            seconds.tokens += 1
            on_progress(length_s)
            yield TranscriptionResult(
                recording.key, Transcript((Segment(0.0, length_s, " word"),), "en", length_s)
            )


class TimedEngine:
    """A real engine that counts the CPU seconds of its own work, without those of its callers."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.cpu_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def transcribe(
        self, recordings: Iterable[Recording], **options: Any
    ) -> Iterator[TranscriptionResult]:
        """Transcribe; pulling a recording and handling a transcript are not counted."""
        started_s = time.thread_time()

        def pull() -> Iterator[Recording]:
            yield from _uncounted_items(recordings, pause, resume)

        def pause() -> None:
            self.cpu_s += time.thread_time() - started_s

        def resume() -> None:
            nonlocal started_s
            started_s = time.thread_time()

        for result in self._engine.transcribe(pull(), **options):
            pause()
            yield result
            resume()
        pause()


def _uncounted_items(
    items: Iterable[Recording], pause: Callable[[], None], resume: Callable[[], None]
) -> Iterator[Recording]:
    iterator = iter(items)
    while True:
        pause()
        item = next(iterator, None)
        resume()
        if item is None:
            return
        yield item


class Pool:
    """An engine pool with a single engine."""

    def __init__(self, engine: Any, requested: TranscriptionEngineConfig) -> None:
        self.requested = requested
        self._engine = engine

    def engine(self, _: str) -> Any:
        """Return the engine."""
        return self._engine

    def pop_load_s(self, _: Any) -> float:
        """Return 0: the engine was loaded before the measurement."""
        return 0.0

    def reconfigure(self, requested: TranscriptionEngineConfig) -> None:
        """Store the requested settings; the engine stays."""
        self.requested = requested

    def unload(self) -> None:
        """Do nothing; the engine stays loaded."""


def cpu_s() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    return sum(os.times()[:4])


def serve(config: Path, *, drain: bool, engine: Any, on_ready: Callable[[], None]) -> None:
    """Run the daemon, or drain the inbox, with this engine."""
    from thoth_watch.bootstrap import build_service, build_settings
    from thoth_watch.infrastructure.service.logs import set_up_logging

    settings = build_settings(config, {}, required=True)
    set_up_logging(level=settings.log_level, log_format="text")
    pool: Any = Pool(engine, settings.engine)
    with build_service(settings, drain=drain, engines=pool, on_ready=on_ready) as run:
        run()


def drain_with_fake_engine(config: Path) -> None:
    """Drain the inbox with the fake engine."""
    serve(config, drain=True, engine=FakeEngine(), on_ready=lambda: None)


def drain_shared(config: Path) -> None:
    """Drain the inbox with the configured engines, which may run in their own processes."""
    from thoth_watch.bootstrap import build_service, build_settings
    from thoth_watch.infrastructure.service.logs import set_up_logging

    settings = build_settings(config, {}, required=True)
    set_up_logging(level=settings.log_level, log_format="text")
    with build_service(settings, drain=True) as run:
        run()


def watch_with_fake_engine(config: Path, report_path: Path) -> None:
    """Run the daemon with the fake engine until SIGTERM; then write when it got each recording."""
    engine = FakeEngine()
    serve(config, drain=False, engine=engine, on_ready=report_path.touch)
    report_path.write_text(json.dumps(engine.started_at))


def drain_real(config: Path, report_path: Path) -> None:
    """Drain the inbox with the configured engine and one thread; then write the CPU seconds."""
    import torch

    torch.set_num_threads(1)
    from thoth_watch.bootstrap import LazyVoiceActivityDetector, build_engine, build_settings

    settings = build_settings(config, {}, required=True)
    engine = TimedEngine(build_engine(settings.engine))
    LazyVoiceActivityDetector()
    spent: dict[str, float] = {}

    def start_measuring() -> None:
        spent["cpu_s"], spent["wall_s"], engine.cpu_s = cpu_s(), time.monotonic(), 0.0

    serve(config, drain=True, engine=engine, on_ready=start_measuring)
    wall_s = time.monotonic() - spent["wall_s"]
    total_s = cpu_s() - spent["cpu_s"]
    report_path.write_text(
        json.dumps({"engine_cpu_s": engine.cpu_s, "total_cpu_s": total_s, "wall_s": wall_s})
    )
