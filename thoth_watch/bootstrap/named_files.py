"""Builds the transcription of files that the user names, without inbox or ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from thoth_watch.application.ports.engine import Progress
from thoth_watch.bootstrap.engines import (
    LazyVoiceActivityDetector,
    audio_file,
    build_decoder,
    build_diarization,
    build_engine,
)
from thoth_watch.bootstrap.load_settings import provenance

if TYPE_CHECKING:
    from thoth_watch.application.transcribe_files import TranscribeFiles
    from thoth_watch.infrastructure.settings import Settings


@contextmanager
def build_transcribe_files(settings: Settings, *, progress: Progress) -> Iterator[TranscribeFiles]:
    """Build the transcription of named files with the configured engine.

    Raises EngineUnavailable, ConfigError.
    """
    from thoth_watch.application.detect_speech import RecordingReader
    from thoth_watch.application.transcribe_files import TranscribeFiles
    from thoth_watch.infrastructure.publishing import DurablePublisher, render

    speakers = build_diarization(settings)
    decoder = build_decoder(settings.audio)
    try:
        yield TranscribeFiles(
            engine=build_engine(settings.engine),
            reader=RecordingReader(decoder, LazyVoiceActivityDetector(), speakers),
            resolve_file=audio_file,
            publisher=DurablePublisher(),
            render=partial(render, layout=settings.subtitles),
            progress=progress,
            file_options=settings.file_options,
            provenance=provenance(settings),
        )
    finally:
        decoder.close()
