"""The engines for use from Python: as the program's own, with its decoder built in."""

from __future__ import annotations

from thoth_watch.bootstrap import LazyVoiceActivityDetector, build_decoder, build_engine
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.infrastructure.whisper import (
    AcceleratedWhisperTranscriptionEngine,
    BatchTranscriptionEngine,
    WhisperTranscriptionEngine,
)

__all__ = [
    "AcceleratedWhisperTranscriptionEngine",
    "BatchTranscriptionEngine",
    "WhisperTranscriptionEngine",
    "load_engine",
]

# adapters do not know each other, so these are put in here
WhisperTranscriptionEngine.default_decoder = staticmethod(build_decoder)
WhisperTranscriptionEngine.default_voice = LazyVoiceActivityDetector


def load_engine(config: TranscriptionEngineConfig | None = None) -> WhisperTranscriptionEngine:
    """The engine that the configuration asks for, loaded; `transcribe_batch(paths)` is its use.

    Raises EngineUnavailable where it cannot be had and `config.fallback` lets nothing stand in.
    """
    asked = config or TranscriptionEngineConfig()
    return build_engine(asked, decoder=build_decoder(), voice=LazyVoiceActivityDetector())
