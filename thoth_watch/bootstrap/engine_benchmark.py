"""Runs each benchmark target in its own process, so that its time and memory are measured alone."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from thoth_watch.application.ports.engine import EngineSeconds, NullProgress
from thoth_watch.bootstrap.engines import (
    LazyVoiceActivityDetector,
    audio_file,
    build_decoder,
    build_engine,
)
from thoth_watch.bootstrap.load_settings import build_settings, provenance
from thoth_watch.domain.engine_comparison import BenchmarkPass
from thoth_watch.domain.errors import EngineUnavailable, ThothError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # read when the libraries are loaded


class BenchmarkTarget(Protocol):
    """A loaded program or engine to benchmark."""

    precision: str
    device: str  # name of the device
    on_gpu: bool
    batch_size: int  # maximum windows per forward pass; 1 for other programs

    def transcribe(self, files: Sequence[Path]) -> tuple[list[str], dict[str, float]]:
        """Return the text of each file, in order, and the wall seconds of the stages."""


class ThothTarget:
    """Transcribes named files in the same way as `thoth-watch transcribe`."""

    def __init__(self, config: Path | None, overrides: Mapping[str, Any]) -> None:
        """Load the engine. config, overrides: see build_settings. Raises EngineUnavailable; no fallback."""
        never = {"engine.fallback": "never", "transcript.formats": ["txt"]}
        self._settings = build_settings(config, {**overrides, **never}, required=False)
        self._decoder = build_decoder(self._settings.audio)
        self._engine = build_engine(self._settings.engine)
        self._voice = LazyVoiceActivityDetector()
        placement = self._engine.placement
        self.precision, self.device = placement.precision, placement.device_name
        self.on_gpu = placement.device != "cpu"
        self.batch_size = placement.batch_size

    def transcribe(self, files: Sequence[Path]) -> tuple[list[str], dict[str, float]]:
        """Return the texts and stage seconds. Raises ThothError with the file that failed."""
        from thoth_watch.application.detect_speech import RecordingReader
        from thoth_watch.application.transcribe_files import TranscribeFiles
        from thoth_watch.infrastructure.publishing import DurablePublisher, render

        seconds, decoder = EngineSeconds(), _Stopwatch(self._decoder)
        publisher = _Stopwatch(DurablePublisher())
        with tempfile.TemporaryDirectory(prefix="thoth-watch-bench-") as folder:
            transcribe_files = TranscribeFiles(
                engine=self._engine,
                reader=RecordingReader(decoder, self._voice),
                resolve_file=audio_file,
                publisher=publisher,
                render=partial(render, layout=self._settings.subtitles),
                progress=NullProgress(),
                file_options=replace(self._settings.file_options, output_dir=folder),
                provenance=provenance(self._settings),
            )
            texts: dict[Path, str] = {}
            for outcome in transcribe_files(files, seconds=seconds):
                if outcome.problem:
                    raise ThothError(f"{outcome.path}: {outcome.problem}")
                texts[outcome.path] = outcome.text
        stages = {"decode": decoder.seconds}
        stages |= {n: getattr(seconds, f"{n}_s") for n in ("features", "encode", "generate")}
        return [texts[file] for file in files], {**stages, "write": publisher.seconds}


class _Stopwatch:
    """Forwards every call and adds up the seconds that the calls take."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.seconds = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        """Return the wrapped object's method, timed."""
        method = getattr(self._inner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds += time.monotonic() - started

        return timed


class TargetProcess:
    """A benchmark target in its own process; `run` makes one pass over files."""

    def __init__(self, build: Callable[[], BenchmarkTarget], *, threads: int | None = None) -> None:
        """Start the process and wait until its target is built.

        build: creates the target in that process (it is pickled). threads: None: the libraries' own
        number. Raises the error of `build`, as EngineUnavailable if it is not a ThothError.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=_serve, args=(child_pipe, build), daemon=False)
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        if threads is not None:
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        try:
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        child_pipe.close()
        self.facts: dict[str, Any] = self._receive()

    def run(self, files: Sequence[Path]) -> BenchmarkPass:
        """Transcribe the files once."""
        self._pipe.send(list(files))
        result: BenchmarkPass = self._receive()
        return result

    def close(self) -> int:
        """End the process and return its peak resident memory in bytes; 0 if it has already ended."""
        if not self._process.is_alive():
            return 0
        self._pipe.send(None)
        peak: int = self._receive()
        self._process.join()
        return peak

    def _receive(self) -> Any:
        try:
            message = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise EngineUnavailable(
                "the benchmark process died, perhaps because memory was short"
            ) from None
        if isinstance(message, Exception):
            self._process.join()
            raise message
        return message


def _serve(pipe: Connection, build: Callable[[], BenchmarkTarget]) -> None:
    from thoth_watch.infrastructure.service.process import peak_rss_bytes

    try:
        started, cpu = time.monotonic(), _cpu_s()
        target = build()
        pipe.send(
            {
                "load_s": time.monotonic() - started,
                "load_cpu_s": _cpu_s() - cpu,
                "precision": target.precision,
                "device": target.device,
                "on_gpu": target.on_gpu,
                "batch_size": target.batch_size,
            }
        )
        while (files := pipe.recv()) is not None:
            started, cpu = time.monotonic(), _cpu_s()
            texts, stages = target.transcribe(files)
            pipe.send(BenchmarkPass(_cpu_s() - cpu, time.monotonic() - started, stages, texts))
        pipe.send(peak_rss_bytes())
    except ThothError as error:
        pipe.send(error)
    except Exception as error:  # noqa: BLE001 - sent to the parent process
        pipe.send(EngineUnavailable(f"{type(error).__name__}: {error}"))


def _cpu_s() -> float:
    """Return the CPU seconds of this process and of its child processes, running or ended."""
    import psutil

    process = psutil.Process()
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return float(total)
