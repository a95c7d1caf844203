"""One recording on its way through the engine: its windows, and what was heard in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from thoth_watch.application.ports import Recording, Transcribed
from thoth_watch.domain.transcript import Segment, Transcript, verdict_of
from thoth_watch.infrastructure.whisper.windows import Window


@dataclass(frozen=True, slots=True)
class Heard:
    """What one window became."""

    segments: tuple[Segment, ...]
    language: str
    is_speech: bool
    n_tokens: int


@dataclass(slots=True)
class Job:
    """A recording that has been taken up and not yet handed over."""

    recording: Recording
    language: str | None  # given, or decided by the first window with speech
    windows: Iterator[Window]
    in_flight: int = 0  # windows cut and not yet heard
    all_cut: bool = False
    is_closed: bool = False
    heard: list[Heard] = field(default_factory=list)  # in time order
    error: str | None = None

    def next_window(self) -> Window | None:
        """The next window to be decoded, None when there is no more."""
        window = next(self.windows, None)
        if window is not None:
            self.in_flight += 1
            self.all_cut = window.stop >= len(self.recording.samples)
        else:
            self.all_cut = True
        return window

    def add(self, heard: Heard) -> None:
        """Take up what the next window in time became."""
        self.in_flight -= 1
        self.heard.append(heard)
        if self.language is None and heard.is_speech:
            self.language = heard.language

    def fail(self, error: str) -> None:
        """Give the recording up; its other windows are not decoded."""
        self.error = self.error or error
        self.all_cut = True
        self.in_flight = 0

    @property
    def is_done(self) -> bool:
        """Whether its last window has been heard, or it was given up."""
        return self.all_cut and self.in_flight == 0

    def close(self) -> None:
        """Free the samples, once."""
        if not self.is_closed:
            self.is_closed = True
            self.windows = iter(())
            self.recording.close()

    def result(self) -> Transcribed:
        """The recording as it is handed over."""
        if self.error is not None:
            return Transcribed(self.recording.key, None, self.error)
        info = self.recording.info
        transcript = Transcript(
            segments=tuple(segment for heard in self.heard for segment in heard.segments),
            language=self.language or next((heard.language for heard in self.heard), ""),
            duration_s=info.decoded_s,
            warnings=info.warnings,
            n_tokens=sum(heard.n_tokens for heard in self.heard),
        )
        transcript = replace(transcript, verdict=verdict_of(transcript.text, info.warnings))
        return Transcribed(self.recording.key, transcript)
