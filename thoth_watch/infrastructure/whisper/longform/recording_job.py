"""The state of one recording during transcription: its windows and their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile
from typing import Protocol

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import TranscriptionResult
from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.speech import clip_spans
from thoth_watch.domain.transcript import PartialTranscript, Segment, Transcript, Verdict
from thoth_watch.domain.verdict import judge
from thoth_watch.infrastructure.whisper.longform.windows import Spans, Window

PROMPT_RESET_TEMPERATURE = 0.5  # above it, text does not condition the next window (Whisper's rule)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The transcript of one window."""

    segments: tuple[Segment, ...]
    language: str
    is_speech: bool
    n_tokens: int
    advance_s: float = 0.0  # seconds from the start of this window to the start of the next


@dataclass(frozen=True, slots=True)
class TranscribedSpan:
    """A span of the recording, in samples, with its result."""

    start: int
    stop: int
    result: WindowResult
    transcribed_s: float  # shorter than the span if silence in it was skipped


class WindowSource(Protocol):
    """Yields the windows of a recording one by one."""

    @property
    def is_exhausted(self) -> bool:
        """Return True if there are no more windows."""

    def next(self) -> Window | None:
        """Return the next window; None at the end, or while it depends on a window without a result."""

    def advance(self, n_samples: int, window: Window) -> int:
        """Record that a window is transcribed; return the sample at which the next one starts.

        n_samples: from the start of this window to the start of the next.
        """


class IndependentWindows:
    """A window source for windows that do not depend on each other's results."""

    def __init__(self, windows: Iterator[Window], *, n_samples: int, start: int = 0) -> None:
        """Skip the windows that start before the sample `start`, which are already transcribed.

        windows: in time order. n_samples: length of the recording.
        """
        self._windows = dropwhile(lambda window: window.start < start, windows)
        self._n_samples, self._is_exhausted = n_samples, False

    @property
    def is_exhausted(self) -> bool:
        """Return True if there are no more windows."""
        return self._is_exhausted

    def next(self) -> Window | None:
        """Return the next window; None at the end."""
        window = next(self._windows, None)
        self._is_exhausted = window is None or window.stop >= self._n_samples
        return window

    def advance(self, n_samples: int, window: Window) -> int:  # noqa: ARG002 - windows are already cut
        """Return the end of the window: independent windows do not move."""
        return window.stop


@dataclass(slots=True)
class RecordingJob:
    """A recording whose transcription has started and not yet finished."""

    recording: Recording
    language: str | None  # configured, or detected in the first window with speech
    window_source: WindowSource | None  # None: failed or closed
    is_careful: bool = False  # True while suspect spans are decoded again
    in_flight: int = 0  # windows without a result yet
    is_closed: bool = False
    parts: list[TranscribedSpan] = field(default_factory=list)  # in time order
    previous: list[int] = field(
        default_factory=list
    )  # previous text, which conditions the next window
    error: str | None = None

    def next_window(self) -> Window | None:
        """Return the next window to decode; None if there is none now."""
        window = self.window_source.next() if self.window_source is not None else None
        if window is not None:
            self.in_flight += 1
        return window

    def is_first(self, window: Window) -> bool:
        """Return True if the window, which must be the latest one, is the recording's first."""
        return self.in_flight == 1 and all(part.start >= window.start for part in self.parts)

    @property
    def is_source_exhausted(self) -> bool:
        """Return True if there are no more windows to decode."""
        return self.window_source is None or self.window_source.is_exhausted

    @classmethod
    def for_recording(cls, recording: Recording, window_source: WindowSource) -> RecordingJob:
        """Return a job for a recording; it resumes after the partial transcript, if there is one."""
        job = cls(recording, language=None, window_source=window_source)
        if recording.partial is not None:
            partial = recording.partial
            job.language = partial.language
            result = WindowResult(
                partial.segments, partial.language, is_speech=True, n_tokens=partial.n_tokens
            )
            job.parts.append(TranscribedSpan(0, partial.n_samples, result, partial.heard_s))
            job._condition_on(partial.segments)
        return job

    def add(self, result: WindowResult, window: Window) -> None:
        """Add the result of the next window in time order."""
        self.in_flight -= 1
        # an advance of 0 skips the whole window, see SequentialWindows.advance
        transcribed_s = min(result.advance_s or window.duration_s, window.duration_s)
        stop = window.start + round(transcribed_s * SAMPLE_RATE_HZ)
        self.parts.append(TranscribedSpan(window.start, stop, result, transcribed_s))
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
                    heard_s=self._transcribed_s(),
                )
            )

    def _condition_on(self, segments: Sequence[Segment]) -> None:
        """Append the segments' tokens to the previous text; one decoded at a high temperature clears it."""
        for segment in segments:
            if segment.temperature > PROMPT_RESET_TEMPERATURE:
                self.previous = []
            else:
                self.previous += segment.tokens

    def fail(self, error: str) -> None:
        """Fail the recording with its first error; its other windows are not decoded."""
        self.error = self.error or error
        self.window_source = None
        self.in_flight = 0

    @property
    def is_done(self) -> bool:
        """Return True if all windows have results, or the recording has failed."""
        return self.is_source_exhausted and self.in_flight == 0

    def suspect_spans(self) -> list[tuple[int, int]]:
        """Return the spans, in samples, whose text is suspect and should be decoded again.

        These are the windows with a suspect verdict of their own; if only the verdict on the whole
        transcript is suspect, the whole recording.
        """
        if self.is_careful or self.error is not None:
            return []
        suspects = [part for part in self.parts if self._is_suspect(part)]
        if not suspects and self.transcript().verdict is Verdict.SUSPECT:
            return [(0, len(self.recording.samples))]
        spans: list[tuple[int, int]] = []
        for part in suspects:
            start = spans.pop()[0] if spans and spans[-1][1] >= part.start else part.start
            spans.append((start, part.stop))
        return spans

    def _is_suspect(self, part: TranscribedSpan) -> bool:
        start_s, stop_s = part.start / SAMPLE_RATE_HZ, part.stop / SAMPLE_RATE_HZ
        speech = self.recording.speech
        clipped = None if speech is None else clip_spans(speech, start_s, stop_s)
        judgment = judge(part.result.segments, speech=clipped, duration_s=stop_s - start_s)
        return judgment.verdict is Verdict.SUSPECT

    def retry_spans(self, window_source: WindowSource, spans: Spans) -> None:
        """Discard the results that start in the spans and decode these again, carefully.

        window_source: the windows of these spans.
        """
        self.is_careful, self.window_source, self.previous = True, window_source, []
        self.parts = [
            part
            for part in self.parts
            if not any(start <= part.start < stop for start, stop in spans)
        ]

    def close(self) -> None:
        """Free the samples; further calls do nothing."""
        if not self.is_closed:
            self.is_closed = True
            self.window_source = None
            self.recording.close()

    def result(self) -> TranscriptionResult:
        """Return the transcript, or the error if the recording has failed."""
        if self.error is not None:
            return TranscriptionResult(self.recording.key, None, self.error)
        return TranscriptionResult(self.recording.key, self.transcript())

    def transcript(self) -> Transcript:
        """Return the transcript of all results so far, with its verdict."""
        info, speech = self.recording.info, self.recording.speech
        transcript = Transcript(
            segments=self._segments(),
            language=self.language or next((part.result.language for part in self.parts), ""),
            duration_s=info.decoded_s,
            warnings=info.warnings,
            n_tokens=self._n_tokens(),
        )
        judgment = judge(
            transcript.segments, speech=speech, duration_s=info.decoded_s, warnings=info.warnings
        )
        skipped_s = 0.0 if speech is None else max(0.0, info.decoded_s - self._transcribed_s())
        return replace(
            transcript,
            verdict=judgment.verdict,
            reasons=judgment.reasons,
            skipped_s=round(skipped_s, 3),
        )

    def _segments(self) -> tuple[Segment, ...]:
        return tuple(segment for part in self.parts for segment in part.result.segments)

    def _n_tokens(self) -> int:
        return sum(part.result.n_tokens for part in self.parts)

    def _transcribed_s(self) -> float:
        return sum(part.transcribed_s for part in self.parts)
