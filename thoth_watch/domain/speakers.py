"""Speaker turns, and the assignment of speakers to segments and words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from thoth_watch.domain.transcript import Segment, Transcript

MIN_SPAN_S = 0.001  # some words have a duration of 0


@dataclass(frozen=True, slots=True)
class DiarizationConfig:
    """Settings of speaker diarization, with the names of whisperX."""

    model: str = "pyannote/speaker-diarization-community-1"  # a Hugging Face id or a local folder
    revision: str | None = None  # commit, tag or branch of a Hugging Face id
    min_speakers: int | None = None
    max_speakers: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a speaker, in seconds from the start of the recording."""

    start: float
    end: float
    speaker: str  # SPEAKER_00, SPEAKER_01...


def assign_speakers(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """Assign to each segment and each timed word the speaker who speaks longest during it.

    Without overlapping turns the speaker is None. Source: whisperX's assign_word_speakers.
    """
    segments = transcript.segments
    of_segments = _speakers([(s.start, s.end) for s in segments], turns)
    of_words = _speakers([(w.start, w.end) for s in segments for w in s.words], turns)
    named = tuple(
        _with_speaker(segment, speaker, of_words)
        for segment, speaker in zip(segments, of_segments, strict=True)
    )
    return replace(transcript, segments=named)


def _with_speaker(segment: Segment, speaker: str | None, of_words: Iterator[str | None]) -> Segment:
    words = tuple(replace(word, speaker=next(of_words)) for word in segment.words)
    return replace(segment, speaker=speaker, words=words)


def _speakers(spans: Sequence[tuple[float, float]], turns: Sequence[Turn]) -> Iterator[str | None]:
    """Yield the speaker who speaks longest in each span, in seconds; turns may overlap."""
    turns = sorted(turns, key=lambda turn: turn.start)
    starts = [turn.start for turn in turns]
    ended_by = list(accumulate((turn.end for turn in turns), max))  # all turns up to this one
    for start, given_end in spans:
        end = max(given_end, start + MIN_SPAN_S)
        spoken_s: dict[str, float] = defaultdict(float)
        for turn in turns[bisect_right(ended_by, start) : bisect_left(starts, end)]:
            spoken_s[turn.speaker] += max(0.0, min(end, turn.end) - max(start, turn.start))
        longest = max(spoken_s, key=lambda speaker: spoken_s[speaker], default=None)
        yield longest if longest is not None and spoken_s[longest] > 0 else None
