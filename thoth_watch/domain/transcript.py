"""The text that was heard, in time, and how far it may be believed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How far the words cover the sound."""

    OK = "ok"
    EMPTY = "empty"  # no speech: a success
    SUSPECT = "suspect"
    TRUNCATED = "truncated"  # less sound than the file declares


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times in seconds from the start of the recording."""

    start: float
    end: float
    word: str
    probability: float
    speaker: str | None = None  # where speakers are told apart


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech; times in seconds from the start of the recording, keys as whisper names them."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    seek: int = 0  # start of the window, in 10 ms frames
    words: tuple[Word, ...] = ()
    channel: str | None = None  # left, right, channel 3...; None: all of them
    speaker: str | None = None  # SPEAKER_00...; None: not told apart, or nobody known


@dataclass(frozen=True, slots=True)
class Transcript:
    """All segments of one recording, in time order."""

    segments: tuple[Segment, ...]
    language: str
    duration_s: float  # decoded seconds
    verdict: Verdict = Verdict.OK
    reasons: tuple[str, ...] = ()  # of a verdict that is neither ok nor empty
    warnings: tuple[str, ...] = ()
    n_tokens: int = 0  # text and timestamp tokens generated
    skipped_s: float = 0.0  # of the recording, not heard because nobody speaks there

    @property
    def text(self) -> str:
        """The words of all segments, as whisper joins them."""
        return "".join(segment.text for segment in self.segments).strip()


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """What has been heard of a long recording whose rest is still to come."""

    n_samples: int  # from its start: all before is done with
    segments: tuple[Segment, ...]
    language: str
    n_tokens: int = 0
    heard_s: float = 0.0  # of it; the rest was skipped
