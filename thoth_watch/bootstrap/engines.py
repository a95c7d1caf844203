"""The decoder, the samples and the engine that is asked for, or the one that may stand in."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thoth_watch.application.ports import (
    SpeakerDiarization,
    TranscriptionEngine,
    VoiceActivityDetector,
)
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
    from thoth_watch.infrastructure.whisper import WhisperTranscriptionEngine

log = logging.getLogger(__name__)

BUILTIN_MODEL = Path(__file__).parents[1] / "builtin" / "model"
SAMPLES = Path(__file__).parents[1] / "builtin" / "samples"


def build_decoder(audio: AudioConfig | None = None) -> WorkerDecoder:
    """The decoder, with its worker process started on first use."""
    from thoth_watch.infrastructure.audio import WorkerDecoder

    return WorkerDecoder(audio or AudioConfig())


def audio_file(path: Path) -> AudioFile:
    """The recording that a person named, links followed. Raises AudioError."""
    from thoth_watch.infrastructure.audio import audio_file as resolve_file

    return resolve_file(path)


def build_engine(
    config: TranscriptionEngineConfig,
    *,
    decoder: WorkerDecoder | None = None,
    voice: VoiceActivityDetector | None = None,
) -> WhisperTranscriptionEngine:
    """The engine asked for, or the standard engine on the CPU where the policy lets it stand in.

    decoder, voice: for its `transcribe_batch`.
    Raises EngineUnavailable: always for a model that cannot be had or a device named on the
    command line, else where `fallback: never`.
    """
    from thoth_watch.infrastructure.models import check_hub, is_cached
    from thoth_watch.infrastructure.whisper import ENGINES
    from thoth_watch.infrastructure.whisper.checkpoint import ModelUnavailable, hub_id

    wanted = hub_id(config.model)
    if wanted is not None and not is_cached(wanted):
        check_hub(wanted)
    engine_class = ENGINES[EngineType(config.engine_type)]
    try:
        return engine_class(config, decoder=decoder, voice=voice, builtin=BUILTIN_MODEL)
    except ModelUnavailable:
        raise
    except EngineUnavailable as error:
        if config.fallback == FallbackPolicy.NEVER or config.device_is_binding:
            raise
        instead = replace(config, engine_type="standard", device="cpu", precision="float32")
        fallback = Fallback(
            what="engine",
            requested=f"{config.engine_type} on {config.device} in {config.precision}",
            used="standard on cpu in float32",
            reason=str(error),
        )
        log.warning(
            "the engine asked for cannot be had; the standard engine on the CPU stands in",
            extra={"event": "fallback", "why": str(error)},
        )
        return ENGINES[EngineType.STANDARD](
            instead, decoder=decoder, voice=voice, builtin=BUILTIN_MODEL, fallbacks=(fallback,)
        )


def build_diarization(settings: Settings) -> SpeakerDiarization | None:
    """What tells speakers apart, loaded; None where no recording is to be treated so.

    Raises ConfigError where the extra `diarize` or the pipeline is missing, EngineUnavailable where
    the hub that has it cannot be reached.
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
    wanted = settings.diarization.model
    if not wanted.startswith("/") and not is_cached(wanted, pattern=CONFIG):
        check_hub(wanted)
    return PyannoteDiarization(settings.diarization, device=settings.engine.device)


class Engines:
    """Keeps the engine in use loaded; one that is asked for otherwise takes its place."""

    def __init__(self, requested: TranscriptionEngineConfig) -> None:
        self._requested = requested
        self._loaded: tuple[TranscriptionEngineConfig, TranscriptionEngine] | None = None
        self._is_load_reported = False

    def reconfigure(self, requested: TranscriptionEngineConfig) -> None:
        """From now on engines as another configuration asks; one that it asks for too stays loaded."""
        self._requested = requested

    @property
    def requested(self) -> TranscriptionEngineConfig:
        """The engine as configured."""
        return self._requested

    def engine(self, model: str) -> TranscriptionEngine:
        """The engine for that model, loaded if it is not. Raises EngineUnavailable."""
        config = self._requested
        if model != config.model:  # a rule's: what was said of the other one is not its own
            config = replace(config, model=model, revision=None, weights_sha256=None)
        if self._loaded is None or self._loaded[0] != config:
            self._loaded = None  # frees the other one first
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
        """Forget the loaded engine and give its memory back; `engine` loads it again."""
        if self._loaded is None:
            return
        from thoth_watch.infrastructure.whisper.unloading import release_memory

        model = self._loaded[0].model
        self._loaded = None
        release_memory()
        log.info(
            "engine unloaded, as nothing was to be done; the next batch loads it again",
            extra={"event": "engine_unloaded", "model": model},
        )

    def pop_load_s(self, engine: TranscriptionEngine) -> float:
        """Seconds that loading it took, the first time it is asked; 0 afterwards."""
        if self._is_load_reported:
            return 0.0
        self._is_load_reported = True
        return engine.load_s


class LazyVoiceActivityDetector:
    """Voice activity, loaded when the first recording asks for it."""

    def __init__(self) -> None:
        self._loaded: VoiceActivityDetector | None = None

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        """Where somebody speaks, in seconds."""
        if self._loaded is None:
            from thoth_watch.infrastructure.voice import SileroVoiceActivity

            self._loaded = SileroVoiceActivity()
        return self._loaded.detect(samples, vad=vad)
