"""The engines for use from Python: they read files with the decoder and speech detection of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from thoth_watch.application.detect_speech import detect_speech
from thoth_watch.application.ports.audio import AudioDecoder, Recording, VoiceActivityDetector
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionResult
from thoth_watch.bootstrap import (
    LazyVoiceActivityDetector,
    build_decoder,
    build_engine,
)
from thoth_watch.domain.engine import EngineType, Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.errors import AudioError, ThothError
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.files import audio_file
from thoth_watch.infrastructure.whisper import ENGINES, WhisperEngine

__all__ = [
    "AcceleratedWhisperTranscriptionEngine",
    "BatchTranscriptionEngine",
    "WhisperTranscriptionEngine",
    "load_engine",
]


class WhisperTranscriptionEngine:
    """The standard engine: float32, plain torch, one window per forward pass, on every device."""

    engine_type: ClassVar[EngineType] = EngineType.STANDARD

    def __init__(
        self,
        config: TranscriptionEngineConfig | None = None,
        *,
        decoder: AudioDecoder | None = None,
        voice: VoiceActivityDetector | None = None,
        engine: WhisperEngine | None = None,
    ) -> None:
        """Load the configured model. Raises EngineUnavailable.

        decoder, voice: for `transcribe_batch`; None: those of the program.
        engine: an engine that is already loaded; None: load this class's engine.
        """
        self._config = config or TranscriptionEngineConfig()
        self._decoder = decoder or build_decoder()
        self._voice = voice or LazyVoiceActivityDetector()
        self._engine = engine or ENGINES[self.engine_type](self._config)

    @property
    def placement(self) -> Placement:
        """Return the device, precision and model in use."""
        return self._engine.placement

    @property
    def load_s(self) -> float:
        """Return the seconds that loading took."""
        return self._engine.load_s

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """Return all deviations from the request so far; the list grows when memory runs out."""
        return self._engine.fallbacks

    @property
    def fingerprint(self) -> str:
        """Return a sha256 of everything that influences the text, except each recording's language and task."""
        return self._engine.fingerprint

    def get_device_info(self) -> dict[str, Any]:
        """Return what is in use: device, precisions, processes, model and versions."""
        return self._engine.get_device_info()

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield each recording's transcript as soon as its last window is decoded."""
        return self._engine.transcribe(
            recordings, seconds=seconds, on_progress=on_progress, should_stop=should_stop
        )

    def transcribe_batch(
        self,
        files: Iterable[str | Path],
        *,
        vad: str = Vad.AUTO,
        seconds: EngineSeconds | None = None,
    ) -> list[Transcript]:
        """Transcribe files in the configured language and task; return the transcripts in the same order.

        vad: voice activity detection: off, auto or on. seconds: the time of each stage is added to it.
        Raises the AudioError of the first file that cannot be read, or ThothError for one that
        cannot be transcribed; the message names the file.
        """
        paths = [Path(file) for file in files]
        transcripts: dict[int, Transcript] = {}
        for result in self.transcribe(
            self._decode(paths, Vad(vad)),
            seconds=seconds or EngineSeconds(),
            on_progress=lambda _: None,
            should_stop=lambda: False,
        ):
            if result.transcript is None:
                raise ThothError(f"{paths[result.key]}: {result.error}")
            transcripts[result.key] = result.transcript
        return [transcripts[key] for key in range(len(paths))]

    def _decode(self, paths: Sequence[Path], vad: Vad) -> Iterator[Recording]:
        for key, path in enumerate(paths):
            try:
                recording = self._decoder.decode(audio_file(path.expanduser()), key=key)
            except AudioError as error:
                raise type(error)(f"{path}: {error}") from error
            recording = detect_speech(
                recording, FileOptions(vad=vad), voice=self._voice, speakers=None
            )
            yield replace(
                recording, key=key, language=self._config.language, task=self._config.task
            )


class AcceleratedWhisperTranscriptionEngine(WhisperTranscriptionEngine):
    """The default: the device's best precision, placed by accelerate, windows batched per recording."""

    engine_type = EngineType.ACCELERATED


class BatchTranscriptionEngine(AcceleratedWhisperTranscriptionEngine):
    """The engine for throughput: windows of many recordings share each forward pass."""

    engine_type = EngineType.BATCH


def load_engine(config: TranscriptionEngineConfig | None = None) -> WhisperTranscriptionEngine:
    """Load the requested engine; `transcribe_batch(paths)` then transcribes files.

    Raises EngineUnavailable if the engine is unavailable and `config.fallback` allows no fallback.
    """
    requested = config or TranscriptionEngineConfig()
    engine = build_engine(requested)
    classes = {
        public.engine_type: public
        for public in (
            WhisperTranscriptionEngine,
            AcceleratedWhisperTranscriptionEngine,
            BatchTranscriptionEngine,
        )
    }
    return classes[engine.engine_type](requested, engine=engine)
