"""What is measured: each system in a process of its own, so that its memory is its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class System:
    """An engine and how it is set, or transformers' pipeline."""

    engine: str  # standard, accelerated, batch or pipeline
    model: str
    audio_context: str = "full"
    precision: str = "auto"
    batch_size: int = 8


@dataclass(slots=True)
class Sample:
    """One pass over the files."""

    cpu_s: float
    wall_s: float
    stages: dict[str, float]
    texts: list[str] = field(default_factory=list)


class Measured:
    """A system in its process; `run` makes one pass."""

    def __init__(self, system: System, *, threads: int, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # numeric libraries read these when they are loaded
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        self._process = context.Process(target=_serve, args=(theirs, system, threads, device))
        self._process.start()
        self.system = system
        self.facts: dict[str, Any] = self._receive()

    def run(self, files: list[Path]) -> Sample:
        """Transcribe the files once."""
        self._pipe.send(files)
        sample: Sample = self._receive()
        return sample

    def close(self) -> int:
        """End the process; its peak resident memory in bytes."""
        self._pipe.send(None)
        peak: int = self._receive()
        self._process.join()
        return peak

    def _receive(self) -> Any:
        try:
            said = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.system}: its process died") from None
        if isinstance(said, Exception):
            raise said
        return said


def _serve(pipe: Connection, system: System, threads: int, device: str) -> None:
    try:
        started = time.monotonic()
        worker = (_Pipeline if system.engine == "pipeline" else _Engine)(system, threads, device)
        facts = {"load_s": time.monotonic() - started, "precision": worker.precision}
        pipe.send({**facts, "device": worker.device})
        while (files := pipe.recv()) is not None:
            cpu, wall = time.process_time(), time.monotonic()
            texts, stages = worker.transcribe(files)
            pipe.send(Sample(time.process_time() - cpu, time.monotonic() - wall, stages, texts))
        from thoth_watch.infrastructure.service.process import peak_rss_bytes

        pipe.send(peak_rss_bytes())
    except Exception as error:  # noqa: BLE001 - shown by the process that asked
        pipe.send(RuntimeError(f"{system}: {type(error).__name__}: {error}"))


class _Engine:
    def __init__(self, system: System, threads: int, device: str) -> None:
        import torch

        torch.set_num_threads(threads)
        from thoth_watch import TranscriptionEngineConfig, load_engine
        from thoth_watch.domain.decoding import GREEDY

        self._engine = load_engine(
            TranscriptionEngineConfig(
                engine_type=system.engine,
                model=system.model,
                device=device,
                precision="auto" if system.engine == "standard" else system.precision,
                audio_context=system.audio_context,
                batch_size=system.batch_size,
                fallback="never",
                language="en",
                decoding=GREEDY,  # random weights would be decoded again at every temperature
            )
        )
        self.precision = self._engine.placement.precision
        self.device = self._engine.placement.device_name

    def transcribe(self, files: list[Path]) -> tuple[list[str], dict[str, float]]:
        from thoth_watch.application.ports import EngineSeconds

        seconds = EngineSeconds()
        transcripts = self._engine.transcribe_batch(files, vad="off", seconds=seconds)
        stages = {
            name: getattr(seconds, f"{name}_s") for name in ("features", "encode", "generate")
        }
        return [t.text for t in transcripts], stages


class _Pipeline:
    def __init__(self, system: System, threads: int, device: str) -> None:
        import torch
        from transformers import logging, pipeline

        logging.set_verbosity_error()

        torch.set_num_threads(threads)
        self._pipeline = pipeline(
            "automatic-speech-recognition",
            model=system.model,
            dtype=torch.float32,
            device=None if device == "auto" else device,
        )
        self.precision, self.device = "float32", str(self._pipeline.device)

    def transcribe(self, files: list[Path]) -> tuple[list[str], dict[str, float]]:
        import soundfile

        heard = []
        for file in files:
            samples, rate_hz = soundfile.read(file, dtype="float32")
            result = self._pipeline(
                {"raw": samples, "sampling_rate": rate_hz},
                return_timestamps=True,
                generate_kwargs={"language": "en", "task": "transcribe"},
            )
            heard.append(result["text"].strip())
        return heard, {}
