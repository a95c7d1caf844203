"""The ports of a loaded Whisper model and of the progress that it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.engine import Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Transcript


@dataclass(frozen=True, slots=True)
class TranscriptionResult:
    """The engine's result for one recording: its transcript, or an error."""

    key: int
    transcript: Transcript | None
    error: str | None = None


@dataclass(slots=True)
class EngineSeconds:
    """Time per stage and resource use; the engine adds to it during `transcribe`."""

    features_s: float = 0.0
    encode_s: float = 0.0
    generate_s: float = 0.0
    tokens: int = 0
    peak_gpu_bytes: int = 0


class TranscriptionEngine(Protocol):
    """A loaded Whisper model."""

    @property
    def placement(self) -> Placement:
        """Return the device, precision and model in use, read back from the model."""

    @property
    def load_s(self) -> float:
        """Return the seconds that loading took."""

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """Return all deviations from the request so far; the list may grow, e.g. when memory runs out."""

    @property
    def fingerprint(self) -> str:
        """Return a hash of everything that influences the text: engine, weights, precision, options, versions."""

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield each recording's transcript as soon as its last window is decoded.

        recordings is consumed as the engine has capacity, so that decoding and computing overlap.
        on_progress receives the seconds of audio that were just finished. should_stop is called
        before each forward pass, which also shows that the engine is alive. When it returns True,
        the engine stops after the current forward pass and yields no unfinished recordings.
        """


class Progress(Protocol):
    """Displays the progress of a batch in seconds of audio."""

    def begin(self, *, files: int, audio_s: float) -> None:
        """Start a batch with this number of files and declared seconds of audio."""

    def advance(self, audio_s: float) -> None:
        """Add transcribed seconds of audio."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Report the final state of one file of the batch."""

    def end(self) -> None:
        """End the batch."""


class NullProgress:
    """Progress that is not displayed."""

    def begin(self, *, files: int, audio_s: float) -> None:
        """Do nothing."""

    def advance(self, audio_s: float) -> None:
        """Do nothing."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class EnginePool(Protocol):
    """Provides the engine of a model, loading it if necessary."""

    def engine(self, model: str) -> TranscriptionEngine:
        """Return the engine for that model. Raises EngineUnavailable."""

    def pop_load_s(self, engine: TranscriptionEngine) -> float:
        """Return the load time in seconds on the first call for an engine, 0 afterwards."""

    @property
    def requested(self) -> TranscriptionEngineConfig:
        """Return the configured engine."""
