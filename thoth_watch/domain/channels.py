"""Merges the transcripts of a recording with one speaker per channel, by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from thoth_watch.domain.speech import SpeechSpans
from thoth_watch.domain.transcript import Transcript, Verdict


class Channels(StrEnum):
    """Handling of the channels of a recording."""

    MIX = "mix"  # mixed to mono
    SPLIT = "split"  # transcribed separately: one speaker per channel


MAX_SPLIT_CHANNELS = 8  # more channels are not one speaker each (surround sound, multitrack)
_NAMES = ("left", "right")
_WORST_FIRST = (Verdict.TRUNCATED, Verdict.SUSPECT, Verdict.OK, Verdict.EMPTY)


def channel_name(index: int) -> str:
    """Return left, right, channel 3, channel 4..."""
    return _NAMES[index] if index < len(_NAMES) else f"channel {index + 1}"


def merge_transcripts(parts: Sequence[tuple[str, Transcript]]) -> Transcript:
    """Merge the transcripts of named channels; the language is that of the longest transcript."""
    named = [
        replace(segment, channel=name)
        for name, transcript in parts
        for segment in transcript.segments
    ]
    transcripts = [transcript for _, transcript in parts]
    longest = max(transcripts, key=lambda transcript: len(transcript.text))
    return Transcript(
        segments=tuple(sorted(named, key=lambda segment: segment.start)),
        language=longest.language,
        duration_s=max(transcript.duration_s for transcript in transcripts),
        verdict=min((t.verdict for t in transcripts), key=_WORST_FIRST.index),
        reasons=tuple(f"{name}: {why}" for name, t in parts for why in t.reasons),
        warnings=tuple(dict.fromkeys(warning for t in transcripts for warning in t.warnings)),
        n_tokens=sum(transcript.n_tokens for transcript in transcripts),
        skipped_s=sum(transcript.skipped_s for transcript in transcripts) / len(transcripts),
    )


def merge_spans(speeches: Sequence[SpeechSpans]) -> SpeechSpans:
    """Merge the speech of all channels into spans that do not overlap."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(span for speech in speeches for span in speech):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
