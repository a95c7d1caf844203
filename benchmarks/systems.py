"""The systems to benchmark: this program's engines and transformers' pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from thoth_watch.bootstrap import ThothTarget
from thoth_watch.bootstrap.engine_benchmark import BenchmarkTarget

WINDOW_S = 30
PLAIN_SETTINGS = {  # random weights would always trigger a retry; no speech detection either
    "decoding.temperature": 0.0,
    "decoding.retry_suspect": False,
    "engine.vad": "off",
    "engine.language": "en",
}


@dataclass(frozen=True, slots=True)
class System:
    """An engine with its settings, or transformers' pipeline."""

    engine: str  # standard, accelerated, batch or pipeline
    model: str
    audio_context: str = "full"
    precision: str = "auto"
    batch_size: int | None = None  # None: automatic
    n_tokens: int | None = (
        None  # per window, for the pipeline; the engines read it from the checkpoint
    )

    def target(self, device: str) -> Callable[[], BenchmarkTarget]:
        """Return the function that builds the system in the measured process."""
        if self.engine == "pipeline":
            return partial(Pipeline, self.model, device, self.n_tokens)
        settings = {
            "engine.engine_type": self.engine,
            "engine.model": self.model,
            "engine.device": device,
            "engine.precision": self.precision,
            "engine.audio_context": self.audio_context,
            "engine.batch_size": self.batch_size or "auto",
        }
        return partial(ThothTarget, None, {**settings, **PLAIN_SETTINGS})


class Pipeline:
    """transformers' pipeline in float32; it gets samples because it would run ffmpeg for each path."""

    precision = "float32"
    batch_size = 1

    def __init__(self, model: str, device: str, n_tokens: int | None) -> None:
        """Load the model. n_tokens: new tokens per window; None: up to the pipeline's 256."""
        import torch
        from transformers import logging, pipeline

        logging.set_verbosity_error()
        self._pipeline = pipeline(
            "automatic-speech-recognition",
            model=model,
            dtype=torch.float32,
            device=None if device == "auto" else device,
        )
        self._options: dict[str, Any] = {"language": "en", "task": "transcribe"}
        if n_tokens is not None:
            self._options["max_new_tokens"] = n_tokens
        self.on_gpu = self._pipeline.device.type == "cuda"
        self.device = str(self._pipeline.device)

    def transcribe(self, files: Sequence[Path]) -> tuple[list[str], dict[str, float]]:
        """Return the text of each file and no stage seconds."""
        import soundfile

        texts = []
        for file in files:
            samples, rate_hz = soundfile.read(file, dtype="float32")
            audio: dict[str, Any] = {"raw": samples, "sampling_rate": rate_hz}
            # Timestamps are for long recordings only: with them, a window may be decoded more than once.
            result = self._pipeline(
                audio,
                return_timestamps=len(samples) > WINDOW_S * rate_hz,
                generate_kwargs=dict(self._options),
            )
            texts.append(result["text"].strip())
        return texts, {}
