"""Transcripts: segments and words with times, and the verdict on their reliability."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Reliability of a transcript."""

    OK = "ok"
    EMPTY = "empty"  # no speech: a success
    SUSPECT = "suspect"
    TRUNCATED = "truncated"  # less audio than the file declares


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times in seconds from the start of the recording."""

    start: float
    end: float
    word: str
    probability: float
    speaker: str | None = None  # None: no diarization, or unknown


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of speech; times in seconds from the start of the recording, field names as in whisper."""

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
    channel: str | None = None  # left, right, channel 3...; None: all channels
    speaker: str | None = None  # SPEAKER_00...; None: no diarization, or unknown


@dataclass(frozen=True, slots=True)
class Transcript:
    """All segments of one recording, in time order."""

    segments: tuple[Segment, ...]
    language: str
    duration_s: float  # decoded seconds
    verdict: Verdict = Verdict.OK
    reasons: tuple[str, ...] = ()  # for a verdict other than ok and empty
    warnings: tuple[str, ...] = ()
    n_tokens: int = 0  # text and timestamp tokens generated
    skipped_s: float = 0.0  # seconds skipped because they have no speech

    @property
    def text(self) -> str:
        """Return the text of all segments, joined as whisper does."""
        return "".join(segment.text for segment in self.segments).strip()


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """The transcript so far of a long recording, from which transcription resumes."""

    n_samples: int  # samples from the start that are transcribed
    segments: tuple[Segment, ...]
    language: str
    n_tokens: int = 0
    heard_s: float = 0.0  # transcribed seconds; the rest was skipped
