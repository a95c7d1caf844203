"""Transcribe audio files dropped into a folder; write transcripts next to them and one row per run to SQLite.

As a library::

    from thoth_watch import TranscriptionEngineConfig, load_engine

    engine = load_engine(TranscriptionEngineConfig(engine_type="batch"))
    for transcript in engine.transcribe_batch(["a.wav", "b.mp3"]):
        print(transcript.text)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thoth_watch.domain.engine import TranscriptionEngineConfig

if TYPE_CHECKING:
    from thoth_watch.library import (
        AcceleratedWhisperTranscriptionEngine,
        BatchTranscriptionEngine,
        WhisperTranscriptionEngine,
        load_engine,
    )

__version__ = "0.1.0"

__all__ = [
    "AcceleratedWhisperTranscriptionEngine",
    "BatchTranscriptionEngine",
    "TranscriptionEngineConfig",
    "WhisperTranscriptionEngine",
    "__version__",
    "load_engine",
]


def __getattr__(name: str) -> Any:
    """Import torch only when an engine is requested, so that `thoth-watch --help` stays fast."""
    if name in __all__:
        return getattr(import_module("thoth_watch.library"), name)
    raise AttributeError(f"module 'thoth_watch' has no attribute {name!r}")
