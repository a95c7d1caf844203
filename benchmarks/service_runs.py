"""The daemon's own loop over real files, in a process of its own, with the engine faked or watched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thoth_watch.application.ports import EngineSeconds, Recording, TranscriptionResult
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.transcript import Segment, Transcript

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with inbox, configuration and ledger."""

    folder: Path

    @property
    def inbox(self) -> Path:
        """Where the recordings lie."""
        return self.folder / "inbox"

    @property
    def database(self) -> Path:
        """The ledger."""
        return self.folder / "ledger.db"

    def configure(self, **sections: Any) -> Path:
        """Write config.yaml; JSON is a part of YAML."""
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
    """16 kHz mono PCM, without a library: 100,000 of them are to be made."""
    pcm = (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    header = b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt " + bytes(
        (16, 0, 0, 0, 1, 0, 1, 0)
    )  # fmt: skip
    header += RATE_HZ.to_bytes(4, "little") + (2 * RATE_HZ).to_bytes(4, "little")
    header += bytes((2, 0, 16, 0)) + b"data" + len(pcm).to_bytes(4, "little")
    path.write_bytes(header + pcm)


class FakeEngine:
    """Hears the same word in everything, at once; notes when it was given a recording."""

    load_s = 0.0
    fingerprint = "faked"
    fallbacks: tuple[Any, ...] = ()
    placement = Placement(
        "batch", "faked", "sha256:0", "cpu", "none", "float32", "no", 8, versions={}
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
        """One word of each recording."""
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
    """A real engine, with the processor seconds of its own work told apart from what feeds it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.cpu_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def transcribe(
        self, recordings: Iterable[Recording], **named: Any
    ) -> Iterator[TranscriptionResult]:
        """As the engine does; a pull of a recording, and what is done with a transcript, is not its own."""
        begun_s = time.thread_time()

        def fed() -> Iterator[Recording]:
            yield from _timed_items(recordings, away, back)

        def away() -> None:
            self.cpu_s += time.thread_time() - begun_s

        def back() -> None:
            nonlocal begun_s
            begun_s = time.thread_time()

        for done in self._engine.transcribe(fed(), **named):
            away()
            yield done
            back()
        away()


def _timed_items(
    items: Iterable[Recording], away: Callable[[], None], back: Callable[[], None]
) -> Iterator[Recording]:
    iterator = iter(items)
    while True:
        away()
        item = next(iterator, None)
        back()
        if item is None:
            return
        yield item


class Pool:
    """An engine pool of one."""

    def __init__(self, engine: Any, requested: TranscriptionEngineConfig) -> None:
        self.requested = requested
        self._engine = engine

    def engine(self, _: str) -> Any:
        """The one."""
        return self._engine

    def pop_load_s(self, _: Any) -> float:
        """It was loaded before the clock began."""
        return 0.0

    def reconfigure(self, requested: TranscriptionEngineConfig) -> None:
        """As asked."""
        self.requested = requested

    def unload(self) -> None:
        """It stays."""


def cpu_s() -> float:
    """Processor seconds of this process and of its ended children."""
    return sum(os.times()[:4])


def serve(config: Path, *, drain: bool, engine: Any, on_ready: Callable[[], None]) -> None:
    """Run the daemon or the drain with that engine."""
    from thoth_watch.bootstrap import build_service, build_settings
    from thoth_watch.infrastructure.service.logs import set_up_logging

    settings = build_settings(config, {}, required=True)
    set_up_logging(level=settings.log_level, log_format="text")
    pool: Any = Pool(engine, settings.engine)
    with build_service(settings, drain=drain, engines=pool, on_ready=on_ready) as run:
        run()


def drain_with_fake_engine(config: Path) -> None:
    """Drain with the faked engine."""
    serve(config, drain=True, engine=FakeEngine(), on_ready=lambda: None)


def drain_shared(config: Path) -> None:
    """Drain with the configured engines, wherever they live."""
    from thoth_watch.bootstrap import build_service, build_settings
    from thoth_watch.infrastructure.service.logs import set_up_logging

    settings = build_settings(config, {}, required=True)
    set_up_logging(level=settings.log_level, log_format="text")
    with build_service(settings, drain=True) as run:
        run()


def watch_with_fake_engine(config: Path, report_path: Path) -> None:
    """Watch with the faked engine until SIGTERM; then write when it was given each recording."""
    engine = FakeEngine()
    serve(config, drain=False, engine=engine, on_ready=report_path.touch)
    report_path.write_text(json.dumps(engine.started_at))


def drain_real(config: Path, report_path: Path) -> None:
    """Drain with the configured engine, one thread; then write what it cost, and all else."""
    import torch

    torch.set_num_threads(1)
    from thoth_watch.bootstrap import LazyVoiceActivityDetector, build_engine, build_settings

    settings = build_settings(config, {}, required=True)
    engine = TimedEngine(build_engine(settings.engine))
    LazyVoiceActivityDetector()
    spent: dict[str, float] = {}

    def begin() -> None:
        spent["cpu_s"], spent["wall_s"], engine.cpu_s = cpu_s(), time.monotonic(), 0.0

    serve(config, drain=True, engine=engine, on_ready=begin)
    wall_s = time.monotonic() - spent["wall_s"]
    total_s = cpu_s() - spent["cpu_s"]
    report_path.write_text(
        json.dumps({"engine_cpu_s": engine.cpu_s, "total_cpu_s": total_s, "wall_s": wall_s})
    )
