"""How words are searched for: openai/whisper's options, under its names and with its defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class LongForm(StrEnum):
    """The two ways through a recording longer than a window."""

    WINDOWED = "windowed"  # cut at quiet places; windows are decoded side by side
    SEQUENTIAL = "sequential"  # each window starts at the last timestamp of the one before


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What openai/whisper lets its users choose. Greedy where it is silent: beam_size is 1."""

    long_form: str = "windowed"
    chunk_length: float | None = None  # seconds of a window at most; None: the model decides
    word_timestamps: bool = False
    temperature: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn, see thresholds
    best_of: int = 5  # samples at temperatures above 0
    beam_size: int = 1  # at temperature 0
    patience: float = 1.0  # of the beam search: how many ends are waited for, over beam_size
    length_penalty: float | None = None  # None: the average log-probability decides
    compression_ratio_threshold: float | None = (
        2.4  # above it text repeats itself: next temperature
    )
    logprob_threshold: float | None = -1.0  # below it on average: next temperature
    no_speech_threshold: float | None = 0.6  # above it, and below the one before: silence
    condition_on_previous_text: bool = True  # sequential only
    initial_prompt: str | None = None  # text before the first window
    carry_initial_prompt: bool = False  # before every window
    hotwords: str | None = None  # words to expect, before every window
    suppress_tokens: tuple[int, ...] | None = None  # ids never written; None: the checkpoint's own
    retry_suspect: bool = True  # windows in doubt are transcribed once more, the careful way

    def __post_init__(self) -> None:
        """Refuse values that make no sense, naming what does."""
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
        """Whether each window waits for the one before."""
        return self.long_form == LongForm.SEQUENTIAL

    def careful(self) -> DecodingOptions:
        """The way for windows in doubt: slower, and never misled by what was heard before."""
        return replace(
            self,
            long_form="sequential",
            beam_size=max(5, self.beam_size),
            condition_on_previous_text=False,
        )


GREEDY = DecodingOptions(temperature=(0.0,), retry_suspect=False)  # no second try, for benchmarks
