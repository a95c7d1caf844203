"""Decoding options, with the names and defaults of openai/whisper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class LongForm(StrEnum):
    """The two long-form decoding modes, for recordings longer than a window."""

    WINDOWED = "windowed"  # cut at quiet places; windows are decoded in parallel
    SEQUENTIAL = "sequential"  # each window starts at the last timestamp of the one before


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """The options of openai/whisper. Greedy decoding (beam_size 1) is the default."""

    long_form: str = "windowed"
    chunk_length: float | None = None  # maximum seconds in a window; None: the model decides
    word_timestamps: bool = False
    temperature: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn, see thresholds
    best_of: int = 5  # samples at temperatures above 0
    beam_size: int = 1  # at temperature 0
    patience: float = 1.0  # beam search ends after patience * beam_size finished hypotheses
    length_penalty: float | None = None  # None: rank hypotheses by average log-probability
    # a higher ratio means repetitive text: next temperature
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0  # lower average: next temperature
    no_speech_threshold: float | None = 0.6  # higher, and below logprob_threshold: silence
    condition_on_previous_text: bool = True  # sequential only
    initial_prompt: str | None = None  # text before the first window
    carry_initial_prompt: bool = False  # before every window
    hotwords: str | None = None  # words to expect, before every window
    suppress_tokens: tuple[int, ...] | None = None  # ids never produced; None: the checkpoint's own
    retry_suspect: bool = True  # transcribe suspect windows once more, see `careful`

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range, with the allowed ones."""
        if self.long_form not in tuple(LongForm):
            raise ValueError(f"long_form {self.long_form!r}: use {', '.join(LongForm)}")
        if self.chunk_length is not None and not 1 <= self.chunk_length <= 30:
            raise ValueError(f"chunk_length {self.chunk_length!r}: use 1 to 30 seconds")
        if not self.temperature or not all(0 <= t <= 1 for t in self.temperature):
            raise ValueError(f"temperature {self.temperature!r}: use one or more from 0 to 1")
        if self.best_of < 1 or self.beam_size < 1 or self.patience <= 0:
            raise ValueError("best_of and beam_size: use 1 or more; patience: more than 0")

    @property
    def is_sequential(self) -> bool:
        """Return True if each window starts where the previous one ended."""
        return self.long_form == LongForm.SEQUENTIAL

    def careful(self) -> DecodingOptions:
        """Return slower options for suspect windows: beam search, not prompted with previous text."""
        return replace(
            self,
            long_form="sequential",
            beam_size=max(5, self.beam_size),
            condition_on_previous_text=False,
        )


GREEDY = DecodingOptions(temperature=(0.0,), retry_suspect=False)  # no retries, for benchmarks
