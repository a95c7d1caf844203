"""Recordings with one speaker a channel: transcripts of channels become one, by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from thoth_watch.domain.speech import SpeechSpans
from thoth_watch.domain.transcript import Transcript, Verdict


class Channels(StrEnum):
    """What is done with the channels of a recording."""

    MIX = "mix"  # heard together
    SPLIT = "split"  # each by itself: one speaker a channel


MAX_SPLIT_CHANNELS = 8  # channels; more are no speakers
_NAMES = ("left", "right")
_WORST_FIRST = (Verdict.TRUNCATED, Verdict.SUSPECT, Verdict.OK, Verdict.EMPTY)


def channel_name(index: int) -> str:
    """left, right, channel 3, channel 4..."""
    return _NAMES[index] if index < len(_NAMES) else f"channel {index + 1}"


def merge_transcripts(parts: Sequence[tuple[str, Transcript]]) -> Transcript:
    """The transcripts of named channels as one; its language is that of the channel with most words."""
    named = [
        replace(segment, channel=name)
        for name, transcript in parts
        for segment in transcript.segments
    ]
    transcripts = [transcript for _, transcript in parts]
    most = max(transcripts, key=lambda transcript: len(transcript.text))
    return Transcript(
        segments=tuple(sorted(named, key=lambda segment: segment.start)),
        language=most.language,
        duration_s=max(transcript.duration_s for transcript in transcripts),
        verdict=min((t.verdict for t in transcripts), key=_WORST_FIRST.index),
        reasons=tuple(f"{name}: {why}" for name, t in parts for why in t.reasons),
        warnings=tuple(dict.fromkeys(warning for t in transcripts for warning in t.warnings)),
        n_tokens=sum(transcript.n_tokens for transcript in transcripts),
        skipped_s=sum(transcript.skipped_s for transcript in transcripts) / len(transcripts),
    )


def merge_spans(speeches: Sequence[SpeechSpans]) -> SpeechSpans:
    """Where anybody speaks."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(stretch for speech in speeches for stretch in speech):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)
