"""Where somebody speaks in a recording, and how much of the rest is skipped."""

from __future__ import annotations

from enum import StrEnum

SpeechSpans = tuple[tuple[float, float], ...]  # seconds from the start, in time order, apart


class Vad(StrEnum):
    """Whether speech is looked for before a recording is transcribed, and what is skipped then."""

    OFF = "off"  # not looked for: everything is heard
    AUTO = "auto"  # what is certainly no speech
    ON = "on"  # what is more likely no speech


def total_s(speech: SpeechSpans) -> float:
    """Seconds of speech."""
    return sum(end - start for start, end in speech)


def clip_spans(speech: SpeechSpans, start_s: float, stop_s: float) -> SpeechSpans:
    """The parts of speech that lie between two times."""
    clipped = ((max(start, start_s), min(end, stop_s)) for start, end in speech)
    return tuple((start, end) for start, end in clipped if start < end)
