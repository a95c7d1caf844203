"""The engines for use from Python, with the decoder of the program."""

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

# adapters do not import each other, so these defaults are set here
WhisperTranscriptionEngine.default_decoder = staticmethod(build_decoder)
WhisperTranscriptionEngine.default_voice = LazyVoiceActivityDetector


def load_engine(config: TranscriptionEngineConfig | None = None) -> WhisperTranscriptionEngine:
    """Load the requested engine; `transcribe_batch(paths)` then transcribes files.

    Raises EngineUnavailable if the engine is unavailable and `config.fallback` allows no fallback.
    """
    requested = config or TranscriptionEngineConfig()
    return build_engine(requested, decoder=build_decoder(), voice=LazyVoiceActivityDetector())
