"""One recording on its way through the engine: its windows, and what was heard in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile
from typing import Protocol

from thoth_watch.application.ports import Recording, TranscriptionResult
from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.speech import clip_spans
from thoth_watch.domain.transcript import PartialTranscript, Segment, Transcript, Verdict
from thoth_watch.domain.verdict import judge
from thoth_watch.infrastructure.whisper.windows import Spans, Window

PROMPT_RESET_TEMPERATURE = 0.5  # text decoded above it is no guide to what follows (whisper's rule)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What one window became."""

    segments: tuple[Segment, ...]
    language: str
    is_speech: bool
    n_tokens: int
    advance_s: float = 0.0  # how far the next window starts behind this one


@dataclass(frozen=True, slots=True)
class TranscribedSpan:
    """A stretch of the recording, in samples, and what was heard in it."""

    start: int
    stop: int
    result: WindowResult
    heard_s: float  # seconds of sound that were listened to


class WindowSource(Protocol):
    """The way through a recording, window by window."""

    @property
    def is_exhausted(self) -> bool:
        """Whether there are no more windows."""

    def next(self) -> Window | None:
        """The next window; None at the end, or while it depends on one that is not heard yet."""

    def advance(self, n_samples: int, window: Window) -> int:
        """A window was heard, the next is so many samples after its start: the sample where it begins."""


class IndependentWindows:
    """Windows that do not depend on each other."""

    def __init__(self, windows: Iterator[Window], *, n_samples: int, start: int = 0) -> None:
        """start: windows before this sample have been heard already."""
        self._windows = dropwhile(lambda window: window.start < start, windows)
        self._n_samples, self._is_exhausted = n_samples, False

    @property
    def is_exhausted(self) -> bool:
        """See Route."""
        return self._is_exhausted

    def next(self) -> Window | None:
        """See Route."""
        window = next(self._windows, None)
        self._is_exhausted = window is None or window.stop >= self._n_samples
        return window

    def advance(self, n_samples: int, window: Window) -> int:  # noqa: ARG002 - windows are where they are
        """See Route."""
        return window.stop


@dataclass(slots=True)
class RecordingJob:
    """A recording that has been taken up and not yet handed over."""

    recording: Recording
    language: str | None  # given, or decided by the first window with speech
    window_source: WindowSource | None  # None: given up, or closed
    is_careful: bool = False
    in_flight: int = 0  # windows cut and not yet heard
    is_closed: bool = False
    parts: list[TranscribedSpan] = field(default_factory=list)  # in time order
    previous: list[int] = field(default_factory=list)  # tokens that condition the next window
    error: str | None = None

    def next_window(self) -> Window | None:
        """The next window to be decoded, None when there is none now."""
        window = self.window_source.next() if self.window_source is not None else None
        if window is not None:
            self.in_flight += 1
        return window

    def is_first(self, window: Window) -> bool:
        """Whether a window that was handed out last is the recording's first."""
        return self.in_flight == 1 and all(part.start >= window.start for part in self.parts)

    @property
    def is_source_exhausted(self) -> bool:
        """Whether every window has been handed out."""
        return self.window_source is None or self.window_source.is_exhausted

    @classmethod
    def for_recording(cls, recording: Recording, window_source: WindowSource) -> RecordingJob:
        """A job for a recording, behind what was heard of it before."""
        job = cls(recording, language=None, window_source=window_source)
        if recording.partial is not None:
            earlier = recording.partial
            job.language = earlier.language
            result = WindowResult(
                earlier.segments, earlier.language, is_speech=True, n_tokens=earlier.n_tokens
            )
            job.parts.append(TranscribedSpan(0, earlier.n_samples, result, earlier.heard_s))
            job._condition_on(earlier.segments)
        return job

    def add(self, result: WindowResult, window: Window) -> None:
        """Take up what the next window in time became."""
        self.in_flight -= 1
        # a window that moves nothing on is passed over whole, see Seeker.advance
        heard_s = min(result.advance_s or window.duration_s, window.duration_s)
        stop = window.start + round(heard_s * SAMPLE_RATE_HZ)
        self.parts.append(TranscribedSpan(window.start, stop, result, heard_s))
        self.parts.sort(key=lambda part: part.start)
        if self.language is None and result.is_speech:
            self.language = result.language
        self._condition_on(result.segments)
        if self.window_source is None:
            return
        reached = self.window_source.advance(round(result.advance_s * SAMPLE_RATE_HZ), window)
        save_partial = self.recording.save_partial
        if save_partial is not None and not self.is_careful and not self.is_done:
            save_partial(
                PartialTranscript(
                    n_samples=reached,
                    segments=self._segments(),
                    language=self.language or result.language,
                    n_tokens=self._n_tokens(),
                    heard_s=self._heard_s(),
                )
            )

    def _condition_on(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.temperature > PROMPT_RESET_TEMPERATURE:
                self.previous = []
            else:
                self.previous += segment.tokens

    def fail(self, error: str) -> None:
        """Give the recording up; its other windows are not decoded."""
        self.error = self.error or error
        self.window_source = None
        self.in_flight = 0

    @property
    def is_done(self) -> bool:
        """Whether its last window has been heard, or it was given up."""
        return self.is_source_exhausted and self.in_flight == 0

    def suspect_spans(self) -> list[tuple[int, int]]:
        """Spans, in samples, that should be heard again before what was heard is believed.

        Those that are in doubt by themselves; all, where only the whole is.
        """
        if self.is_careful or self.error is not None:
            return []
        suspect_spans = [part for part in self.parts if self._is_suspect(part)]
        if not suspect_spans and self.transcript().verdict is Verdict.SUSPECT:
            return [(0, len(self.recording.samples))]
        spans: list[tuple[int, int]] = []
        for part in suspect_spans:
            start = spans.pop()[0] if spans and spans[-1][1] >= part.start else part.start
            spans.append((start, part.stop))
        return spans

    def _is_suspect(self, part: TranscribedSpan) -> bool:
        start_s, stop_s = part.start / SAMPLE_RATE_HZ, part.stop / SAMPLE_RATE_HZ
        speech = self.recording.speech
        inside = None if speech is None else clip_spans(speech, start_s, stop_s)
        found = judge(part.result.segments, speech=inside, duration_s=stop_s - start_s)
        return found.verdict is Verdict.SUSPECT

    def retry_spans(self, window_source: WindowSource, spans: Spans) -> None:
        """Hear those parts of the recording once more, with more care."""
        self.is_careful, self.window_source, self.previous = True, window_source, []
        self.parts = [
            part
            for part in self.parts
            if not any(start <= part.start < stop for start, stop in spans)
        ]

    def close(self) -> None:
        """Free the samples, once."""
        if not self.is_closed:
            self.is_closed = True
            self.window_source = None
            self.recording.close()

    def result(self) -> TranscriptionResult:
        """The recording as it is handed over."""
        if self.error is not None:
            return TranscriptionResult(self.recording.key, None, self.error)
        return TranscriptionResult(self.recording.key, self.transcript())

    def transcript(self) -> Transcript:
        """What was heard, and how far it may be believed."""
        info, speech = self.recording.info, self.recording.speech
        transcript = Transcript(
            segments=self._segments(),
            language=self.language or next((part.result.language for part in self.parts), ""),
            duration_s=info.decoded_s,
            warnings=info.warnings,
            n_tokens=self._n_tokens(),
        )
        found = judge(
            transcript.segments, speech=speech, duration_s=info.decoded_s, warnings=info.warnings
        )
        skipped_s = 0.0 if speech is None else max(0.0, info.decoded_s - self._heard_s())
        return replace(
            transcript, verdict=found.verdict, reasons=found.reasons, skipped_s=round(skipped_s, 3)
        )

    def _segments(self) -> tuple[Segment, ...]:
        return tuple(segment for part in self.parts for segment in part.result.segments)

    def _n_tokens(self) -> int:
        return sum(part.result.n_tokens for part in self.parts)

    def _heard_s(self) -> float:
        return sum(part.heard_s for part in self.parts)
