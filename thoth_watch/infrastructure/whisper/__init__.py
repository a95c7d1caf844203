"""The three Whisper engines, on torch, transformers and accelerate."""

from thoth_watch.infrastructure.whisper.engines import (
    ENGINES,
    AcceleratedWhisperEngine,
    BatchWhisperEngine,
    WhisperEngine,
)
from thoth_watch.infrastructure.whisper.loading.checkpoint import ModelUnavailable

__all__ = [
    "ENGINES",
    "AcceleratedWhisperEngine",
    "BatchWhisperEngine",
    "ModelUnavailable",
    "WhisperEngine",
]
