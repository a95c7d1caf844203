"""The three Whisper engines, on torch, transformers and accelerate."""

from thoth_watch.infrastructure.whisper.engines import (
    ENGINES,
    AcceleratedWhisperTranscriptionEngine,
    BatchTranscriptionEngine,
    WhisperTranscriptionEngine,
)
from thoth_watch.infrastructure.whisper.loading.load_whisper import ModelUnavailable

__all__ = [
    "ENGINES",
    "AcceleratedWhisperTranscriptionEngine",
    "BatchTranscriptionEngine",
    "ModelUnavailable",
    "WhisperTranscriptionEngine",
]
