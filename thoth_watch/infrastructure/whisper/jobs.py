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
class Heard:
    """What one window became."""

    segments: tuple[Segment, ...]
    language: str
    is_speech: bool
    n_tokens: int
    advance_s: float = 0.0  # how far the next window starts behind this one


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the recording, in samples, and what was heard in it."""

    start: int
    stop: int
    heard: Heard
    heard_s: float  # seconds of sound that were listened to


class Route(Protocol):
    """The way through a recording, window by window."""

    @property
    def is_over(self) -> bool:
        """Whether there are no more windows."""

    def next(self) -> Window | None:
        """The next window; None at the end, or while it depends on one that is not heard yet."""

    def advance(self, n_samples: int, window: Window) -> int:
        """A window was heard, the next is so many samples after its start: the sample where it begins."""


class WindowedRoute:
    """Windows that do not depend on each other."""

    def __init__(self, windows: Iterator[Window], *, n_samples: int, start: int = 0) -> None:
        """start: windows before this sample have been heard already."""
        self._windows = dropwhile(lambda window: window.start < start, windows)
        self._n_samples, self._is_over = n_samples, False

    @property
    def is_over(self) -> bool:
        """See Route."""
        return self._is_over

    def next(self) -> Window | None:
        """See Route."""
        window = next(self._windows, None)
        self._is_over = window is None or window.stop >= self._n_samples
        return window

    def advance(self, n_samples: int, window: Window) -> int:  # noqa: ARG002 - windows are where they are
        """See Route."""
        return window.stop


@dataclass(slots=True)
class Job:
    """A recording that has been taken up and not yet handed over."""

    recording: Recording
    language: str | None  # given, or decided by the first window with speech
    route: Route | None  # None: given up, or closed
    is_careful: bool = False
    in_flight: int = 0  # windows cut and not yet heard
    is_closed: bool = False
    parts: list[Part] = field(default_factory=list)  # in time order
    previous: list[int] = field(default_factory=list)  # tokens that condition the next window
    error: str | None = None

    def next_window(self) -> Window | None:
        """The next window to be decoded, None when there is none now."""
        window = self.route.next() if self.route is not None else None
        if window is not None:
            self.in_flight += 1
        return window

    def is_first(self, window: Window) -> bool:
        """Whether a window that was handed out last is the recording's first."""
        return self.in_flight == 1 and all(part.start >= window.start for part in self.parts)

    @property
    def all_cut(self) -> bool:
        """Whether every window has been handed out."""
        return self.route is None or self.route.is_over

    @classmethod
    def taken_up(cls, recording: Recording, route: Route) -> Job:
        """A job for a recording, behind what was heard of it before."""
        job = cls(recording, language=None, route=route)
        if recording.partial is not None:
            earlier = recording.partial
            job.language = earlier.language
            heard = Heard(
                earlier.segments, earlier.language, is_speech=True, n_tokens=earlier.n_tokens
            )
            job.parts.append(Part(0, earlier.n_samples, heard, earlier.heard_s))
            job._condition_on(earlier.segments)
        return job

    def add(self, heard: Heard, window: Window) -> None:
        """Take up what the next window in time became."""
        self.in_flight -= 1
        # a window that moves nothing on is passed over whole, see Seeker.advance
        heard_s = min(heard.advance_s or window.duration_s, window.duration_s)
        stop = window.start + round(heard_s * SAMPLE_RATE_HZ)
        self.parts.append(Part(window.start, stop, heard, heard_s))
        self.parts.sort(key=lambda part: part.start)
        if self.language is None and heard.is_speech:
            self.language = heard.language
        self._condition_on(heard.segments)
        if self.route is None:
            return
        reached = self.route.advance(round(heard.advance_s * SAMPLE_RATE_HZ), window)
        save_partial = self.recording.save_partial
        if save_partial is not None and not self.is_careful and not self.is_done:
            save_partial(
                PartialTranscript(
                    n_samples=reached,
                    segments=self._segments(),
                    language=self.language or heard.language,
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
        self.route = None
        self.in_flight = 0

    @property
    def is_done(self) -> bool:
        """Whether its last window has been heard, or it was given up."""
        return self.all_cut and self.in_flight == 0

    def doubted(self) -> list[tuple[int, int]]:
        """Spans, in samples, that should be heard again before what was heard is believed.

        Those that are in doubt by themselves; all, where only the whole is.
        """
        if self.is_careful or self.error is not None:
            return []
        doubted = [part for part in self.parts if self._is_doubtful(part)]
        if not doubted and self.transcript().verdict is Verdict.SUSPECT:
            return [(0, len(self.recording.samples))]
        spans: list[tuple[int, int]] = []
        for part in doubted:
            start = spans.pop()[0] if spans and spans[-1][1] >= part.start else part.start
            spans.append((start, part.stop))
        return spans

    def _is_doubtful(self, part: Part) -> bool:
        start_s, stop_s = part.start / SAMPLE_RATE_HZ, part.stop / SAMPLE_RATE_HZ
        speech = self.recording.speech
        inside = None if speech is None else clip_spans(speech, start_s, stop_s)
        found = judge(part.heard.segments, speech=inside, duration_s=stop_s - start_s)
        return found.verdict is Verdict.SUSPECT

    def hear_again(self, route: Route, spans: Spans) -> None:
        """Hear those parts of the recording once more, with more care."""
        self.is_careful, self.route, self.previous = True, route, []
        self.parts = [
            part
            for part in self.parts
            if not any(start <= part.start < stop for start, stop in spans)
        ]

    def close(self) -> None:
        """Free the samples, once."""
        if not self.is_closed:
            self.is_closed = True
            self.route = None
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
            language=self.language or next((part.heard.language for part in self.parts), ""),
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
        return tuple(segment for part in self.parts for segment in part.heard.segments)

    def _n_tokens(self) -> int:
        return sum(part.heard.n_tokens for part in self.parts)

    def _heard_s(self) -> float:
        return sum(part.heard_s for part in self.parts)
