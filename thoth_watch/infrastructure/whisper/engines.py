"""The three engines, which differ in precision, device placement and batching."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionResult
from thoth_watch.domain.engine import EngineType, Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.infrastructure.whisper import placement as device_placement
from thoth_watch.infrastructure.whisper.batch_size import BatchSize, automatic_batch_size
from thoth_watch.infrastructure.whisper.loading.device_maps import MemoryBudget
from thoth_watch.infrastructure.whisper.loading.load_whisper import load_whisper
from thoth_watch.infrastructure.whisper.window_scheduler import WindowScheduler
from thoth_watch.infrastructure.whisper.window_transcriber import (
    DECODING_VERSION,
    WindowTranscriber,
)

log = logging.getLogger(__name__)

BUILTIN = Path(__file__).parents[2] / "builtin" / "model"


class WhisperEngine:
    """The standard engine: float32, plain torch, one window per forward pass, on every device."""

    engine_type: ClassVar[EngineType] = EngineType.STANDARD
    is_placed_by_accelerate: ClassVar[bool] = (
        False  # if True, a model that is too large is offloaded
    )
    # if True, windows of several recordings share a forward pass
    is_batched_across_recordings: ClassVar[bool] = False

    def __init__(
        self,
        config: TranscriptionEngineConfig | None = None,
        *,
        builtin: Path = BUILTIN,
        fallbacks: Sequence[Fallback] = (),
        max_memory: MemoryBudget | None = None,
    ) -> None:
        """Load the configured model. Raises EngineUnavailable.

        fallbacks: deviations from the request that the caller already made.
        max_memory: memory budget in bytes by device number or `cpu`, to which a model that is larger
        than its device is distributed; None: the free memory.
        """
        started = time.monotonic()
        self._requested = requested = replace(
            config or TranscriptionEngineConfig(), engine_type=self.engine_type.value
        )
        self._fallbacks = list(fallbacks)
        device = device_placement.choose_device(requested.device)
        self._loaded = loaded = load_whisper(
            requested.model,
            revision=requested.revision,
            weights_sha256=requested.weights_sha256,
            builtin=builtin,
            device=device,
            precision=device_placement.choose_precision(
                requested.precision,
                enable_mixed=requested.enable_mixed_precision,
                engine_type=self.engine_type,
                device=device,
                packed=self.is_placed_by_accelerate and requested.use_cache,
            ),
            is_free_to_choose=requested.precision == "auto",
            is_placed_by_accelerate=self.is_placed_by_accelerate,
            use_cache=requested.use_cache,
            max_memory=max_memory,
        )
        network = loaded.network
        self._precisions = network.encoder_precision, network.decoder_precision
        if device_placement.is_emulated(self._precisions, device):
            log.warning(
                "this processor has no bfloat16 instructions; bfloat16 is emulated, several times "
                "slower than float32 (engine.precision: auto selects a fast precision)",
                extra={
                    "event": "precision_emulated",
                    "precision": device_placement.format_precision(*self._precisions),
                },
            )
        self._facts = device_placement.read_process_facts(
            cpu=device.type == "cpu",
            mixed_precision=device_placement.mixed_precision_name(*self._precisions),
        )
        self._transcriber = WindowTranscriber(
            loaded, trims=requested.trims, options=requested.decoding
        )
        self._scheduler = WindowScheduler(
            self._transcriber,
            size=self._batch_size(device),
            on_size_reduced=self._record_smaller_batch,
        )
        self._placement = self._read_placement(device)
        self._load_s = time.monotonic() - started

    def _max_batch_size(self) -> int:
        if self.engine_type == EngineType.STANDARD:
            return 1
        return self._requested.batch_size or automatic_batch_size(
            self._loaded.network.config,
            n_weights=self._loaded.n_weights,
            dtype=self._loaded.network.encoder_dtype,
            device=self._loaded.network.device,
        )

    def _batch_size(self, device: torch.device) -> BatchSize:
        """Return the batch size; on a GPU, engines of this process share which sizes are too large.

        A CPU's memory is shared with other processes, so a size that was too large may fit later.
        """
        key = (
            (self._loaded.revision, device_placement.device_name(device))
            if device.type == "cuda"
            else None
        )
        return BatchSize(self._max_batch_size(), shared_key=key)

    def _record_smaller_batch(self, used: int, reason: str) -> None:
        """Record a smaller batch size after running out of memory; it replaces an earlier such record."""
        requested = self._max_batch_size()
        self._fallbacks = [f for f in self._fallbacks if f.what != "batch_size"]
        self._fallbacks.append(Fallback("batch_size", str(requested), str(used), reason))
        log.warning(
            "out of memory; continuing with a smaller batch size",
            extra={"event": "batch_size_reduced", "asked": requested, "got": used},
        )

    @property
    def placement(self) -> Placement:
        """Return the device, precision and model in use, read from the weights and accelerate's state."""
        return replace(self._placement, batch_size=self._scheduler.size)

    def _read_placement(self, device: torch.device) -> Placement:
        return Placement(
            engine=self.engine_type.value,
            model=self._requested.model,
            model_revision=self._loaded.revision,
            device=str(device),
            device_name=device_placement.device_name(device),
            precision=device_placement.format_precision(*self._precisions),
            mixed_precision=self._facts.mixed_precision,
            batch_size=self._scheduler.size,
            num_processes=self._facts.num_processes,
            is_main_process=self._facts.is_main_process,
            versions={name: version(name) for name in ("torch", "transformers", "accelerate")},
        )

    @property
    def load_s(self) -> float:
        """Return the seconds that loading took."""
        return self._load_s

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """Return all deviations from the request so far; the list grows when memory runs out."""
        return self._fallbacks

    @property
    def fingerprint(self) -> str:
        """Return a sha256 of everything that influences the text, except each recording's language and task."""
        versions = self.placement.versions
        facts = {
            "engine": self.engine_type.value,
            "model_revision": self._loaded.revision,
            "encoder": self._precisions[0],
            "decoder": self._precisions[1],
            "audio_context": "trim" if self._transcriber.trims else "full",
            "window_samples": self._transcriber.window_samples,
            "decoding": DECODING_VERSION,
            "options": asdict(self._requested.decoding),
            "versions": {k: versions[k].split(".")[:2] for k in ("torch", "transformers")},
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def get_device_info(self) -> dict[str, Any]:
        """Return what is in use: device, precisions, processes, model and versions."""
        used = self.placement
        return {
            "engine": used.engine,
            "device": used.device,
            "device_name": used.device_name,
            "device_map": self._loaded.network.device_map,
            "mixed_precision": used.mixed_precision,
            "precision": used.precision,
            "encoder_precision": self._precisions[0],
            "decoder_precision": self._precisions[1],
            "dtype": str(self._loaded.network.decoder_dtype).removeprefix("torch."),
            "encoder_dtype": str(self._loaded.network.encoder_dtype).removeprefix("torch."),
            "num_processes": used.num_processes,
            "is_main_process": used.is_main_process,
            "model": used.model,
            "model_revision": used.model_revision,
            "batch_size": used.batch_size,
            "use_cache": self._requested.use_cache,
            "audio_context": "trim" if self._transcriber.trims else "full",
            "versions": dict(used.versions),
        }

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield each recording's transcript as soon as its last window is decoded.

        A recording that cannot be transcribed is yielded with its error; the others continue.
        """
        if self._loaded.network.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._loaded.network.device)
        return self._scheduler.run(
            recordings,
            special_tokens=self._loaded.special_tokens,
            is_batched_across_recordings=self.is_batched_across_recordings,
            seconds=seconds,
            on_progress=on_progress,
            should_stop=should_stop,
        )


class AcceleratedWhisperEngine(WhisperEngine):
    """The default: the device's best precision, placed by accelerate, windows batched per recording."""

    engine_type = EngineType.ACCELERATED
    is_placed_by_accelerate = True


class BatchWhisperEngine(AcceleratedWhisperEngine):
    """The engine for throughput: windows of many recordings share each forward pass."""

    engine_type = EngineType.BATCH
    is_batched_across_recordings = True


ENGINES: dict[EngineType, type[WhisperEngine]] = {
    engine.engine_type: engine
    for engine in (WhisperEngine, AcceleratedWhisperEngine, BatchWhisperEngine)
}
