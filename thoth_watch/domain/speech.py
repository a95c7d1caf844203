"""Spans of speech in a recording, and the modes of voice activity detection."""

from __future__ import annotations

from enum import StrEnum

SpeechSpans = tuple[
    tuple[float, float], ...
]  # seconds from the start, in time order, not overlapping


class Vad(StrEnum):
    """Mode of voice activity detection, which skips audio without speech."""

    OFF = "off"  # no detection: everything is transcribed
    AUTO = "auto"  # skip what is certainly not speech
    ON = "on"  # skip what is probably not speech


def total_s(speech: SpeechSpans) -> float:
    """Return the total seconds of speech."""
    return sum(end - start for start, end in speech)


def clip_spans(speech: SpeechSpans, start_s: float, stop_s: float) -> SpeechSpans:
    """Return the parts of the speech between two times."""
    clipped = ((max(start, start_s), min(end, stop_s)) for start, end in speech)
    return tuple((start, end) for start, end in clipped if start < end)
