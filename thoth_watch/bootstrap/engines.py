"""Builds decoders, speaker diarization and the requested engine or its fallback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thoth_watch.application.ports.audio import SpeakerDiarization, VoiceActivityDetector
from thoth_watch.application.ports.engine import TranscriptionEngine
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import RunLog
from thoth_watch.domain.audio import AudioConfig, AudioFile
from thoth_watch.domain.engine import (
    EngineType,
    Fallback,
    FallbackPolicy,
    TranscriptionEngineConfig,
)
from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.domain.speech import SpeechSpans, Vad

if TYPE_CHECKING:
    from thoth_watch.infrastructure.audio import WorkerDecoder
    from thoth_watch.infrastructure.settings import Settings
    from thoth_watch.infrastructure.whisper import WhisperEngine

log = logging.getLogger(__name__)

BUILTIN_MODEL = Path(__file__).parents[1] / "builtin" / "model"
SAMPLES = Path(__file__).parents[1] / "builtin" / "samples"


def build_decoder(audio: AudioConfig | None = None) -> WorkerDecoder:
    """Build the decoder; its worker process starts on first use."""
    from thoth_watch.infrastructure.audio import WorkerDecoder

    return WorkerDecoder(audio or AudioConfig())


def audio_file(path: Path) -> AudioFile:
    """Return the audio file that the user named, following symlinks. Raises AudioError."""
    from thoth_watch.infrastructure.files import audio_file as resolve_file

    return resolve_file(path)


def build_engine(config: TranscriptionEngineConfig) -> WhisperEngine:
    """Build the requested engine, or the standard engine on the CPU if the policy allows a fallback.

    Raises EngineUnavailable: always if the model is unavailable or the device was named on the
    command line, otherwise only with `fallback: never`.
    """
    from thoth_watch.infrastructure.models import check_hub, is_cached
    from thoth_watch.infrastructure.whisper import ENGINES
    from thoth_watch.infrastructure.whisper.loading.checkpoint import ModelUnavailable, hub_id

    repository = hub_id(config.model)
    if repository is not None and not is_cached(repository):
        check_hub(repository)
    engine_class = ENGINES[EngineType(config.engine_type)]
    try:
        return engine_class(config, builtin=BUILTIN_MODEL)
    except ModelUnavailable:
        raise
    except EngineUnavailable as error:
        if config.fallback == FallbackPolicy.NEVER or config.device_is_binding:
            raise
        fallback_config = replace(config, engine_type="standard", device="cpu", precision="float32")
        fallback = Fallback(
            what="engine",
            requested=f"{config.engine_type} on {config.device} in {config.precision}",
            used="standard on cpu in float32",
            reason=str(error),
        )
        log.warning(
            "requested engine unavailable; falling back to the standard engine on the CPU",
            extra={"event": "fallback", "why": str(error)},
        )
        return ENGINES[EngineType.STANDARD](
            fallback_config,
            builtin=BUILTIN_MODEL,
            fallbacks=(fallback,),
        )


def build_diarization(settings: Settings) -> SpeakerDiarization | None:
    """Load speaker diarization; None if neither the configuration nor a rule enables it.

    Raises ConfigError if the `diarize` extra or the pipeline is missing, EngineUnavailable if the
    hub cannot be reached.
    """
    requested = [
        settings.file_options.diarize,
        *(dict(r.changes).get("diarize") for r in settings.rules),
    ]
    if not any(requested):
        return None
    from thoth_watch.infrastructure.models import check_hub, is_cached
    from thoth_watch.infrastructure.speakers import CONFIG, PyannoteDiarization, require_package

    require_package()
    model = settings.diarization.model
    if not model.startswith("/") and not is_cached(model, pattern=CONFIG):
        check_hub(model)
    return PyannoteDiarization(settings.diarization, device=settings.engine.device)


class Engines:
    """Keeps one engine loaded; a request for another model or configuration replaces it."""

    def __init__(self, requested: TranscriptionEngineConfig) -> None:
        self._requested = requested
        self._loaded: tuple[TranscriptionEngineConfig, TranscriptionEngine] | None = None
        self._is_load_reported = False

    def reconfigure(self, requested: TranscriptionEngineConfig) -> None:
        """Use another configuration from now on; the loaded engine stays if it still matches."""
        self._requested = requested

    @property
    def requested(self) -> TranscriptionEngineConfig:
        """Return the configured engine."""
        return self._requested

    def engine(self, model: str) -> TranscriptionEngine:
        """Return the engine for that model, loading it if necessary. Raises EngineUnavailable."""
        config = self._requested
        if (
            model != config.model
        ):  # set by a rule: the pinned revision and hash belong to the configured model
            config = replace(config, model=model, revision=None, weights_sha256=None)
        if self._loaded is None or self._loaded[0] != config:
            self._loaded = None  # frees the memory before the next engine is loaded
            self._loaded = (config, build_engine(config))
            self._is_load_reported = False
            placement = self._loaded[1].placement
            log.info(
                "engine loaded",
                extra={
                    "event": "engine_loaded",
                    "engine": placement.engine,
                    "model": placement.model,
                    "device": placement.device,
                    "precision": placement.precision,
                },
            )
        return self._loaded[1]

    def unload(self) -> None:
        """Unload the engine and release its memory; `engine` loads it again."""
        if self._loaded is None:
            return
        from thoth_watch.infrastructure.whisper.network.memory import release_memory

        model = self._loaded[0].model
        self._loaded = None
        release_memory()
        log.info(
            "engine unloaded after being idle; it reloads with the next batch",
            extra={"event": "engine_unloaded", "model": model},
        )

    def pop_load_s(self, engine: TranscriptionEngine) -> float:
        """Return the seconds that loading the engine took; 0 from the second call on."""
        if self._is_load_reported:
            return 0.0
        self._is_load_reported = True
        return engine.load_s


@contextmanager
def record_failed_start(settings: Settings, ledger: RunLog, clock: Clock) -> Iterator[None]:
    """Record an EngineUnavailable of the `with` block as a failed run; it is raised all the same."""
    from thoth_watch.infrastructure.service.process import host_name

    try:
        yield
    except EngineUnavailable as error:
        ledger.record_failed_start(
            requested=settings.engine, error=str(error), host=host_name(), now=clock.now()
        )
        raise


class LazyVoiceActivityDetector:
    """Voice activity detection whose model is loaded on first use."""

    def __init__(self) -> None:
        self._loaded: VoiceActivityDetector | None = None

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        """Return the spans of speech, in seconds."""
        if self._loaded is None:
            from thoth_watch.infrastructure.voice import SileroVoiceActivity

            self._loaded = SileroVoiceActivity()
        return self._loaded.detect(samples, vad=vad)
