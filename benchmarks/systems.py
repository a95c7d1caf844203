"""What is measured: this program's engines as it uses them, and transformers' pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from thoth_watch.bootstrap import ThothTarget
from thoth_watch.bootstrap.engine_benchmark import BenchmarkTarget

WINDOW_S = 30
PLAIN_SETTINGS = {  # no second try, which random weights would always need, and no search for speech
    "decoding.temperature": 0.0,
    "decoding.retry_suspect": False,
    "engine.vad": "off",
    "engine.language": "en",
}


@dataclass(frozen=True, slots=True)
class System:
    """An engine and how it is set, or transformers' pipeline."""

    engine: str  # standard, accelerated, batch or pipeline
    model: str
    audio_context: str = "full"
    precision: str = "auto"
    batch_size: int | None = None  # None: what the engine chooses
    n_tokens: int | None = None  # of each window; the engines read it from the checkpoint

    def way(self, device: str) -> Callable[[], BenchmarkTarget]:
        """What builds it, in the process that is measured."""
        if self.engine == "pipeline":
            return partial(Pipeline, self.model, device, self.n_tokens)
        asked = {
            "engine.engine_type": self.engine,
            "engine.model": self.model,
            "engine.device": device,
            "engine.precision": self.precision,
            "engine.audio_context": self.audio_context,
            "engine.batch_size": self.batch_size or "auto",
        }
        return partial(ThothTarget, None, {**asked, **PLAIN_SETTINGS})


class Pipeline:
    """transformers' pipeline in float32, given samples: with paths it would start ffmpeg for each."""

    precision = "float32"
    batch_size = 1

    def __init__(self, model: str, device: str, n_tokens: int | None) -> None:
        """n_tokens: new ones in each window, where it would go on to its own 256."""
        import torch
        from transformers import logging, pipeline

        logging.set_verbosity_error()
        self._pipeline = pipeline(
            "automatic-speech-recognition",
            model=model,
            dtype=torch.float32,
            device=None if device == "auto" else device,
        )
        self._how: dict[str, Any] = {"language": "en", "task": "transcribe"}
        if n_tokens is not None:
            self._how["max_new_tokens"] = n_tokens
        self.on_gpu = self._pipeline.device.type == "cuda"
        self.device = str(self._pipeline.device)

    def transcribe(self, files: Sequence[Path]) -> tuple[list[str], dict[str, float]]:
        """See Way."""
        import soundfile

        heard = []
        for file in files:
            samples, rate_hz = soundfile.read(file, dtype="float32")
            sound: dict[str, Any] = {"raw": samples, "sampling_rate": rate_hz}
            # with timestamps it may go over a window more than once, which a recording of 30 s needs not
            result = self._pipeline(
                sound,
                return_timestamps=len(samples) > WINDOW_S * rate_hz,
                generate_kwargs=dict(self._how),
            )
            heard.append(result["text"].strip())
        return heard, {}
