"""The special tokens of a checkpoint, read from it: languages, tasks and timestamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids that steer decoding."""

    start: int  # <|startoftranscript|>
    end: int  # <|endoftext|>
    no_speech: int | None  # None: this checkpoint cannot say
    no_timestamps: int
    languages: Mapping[str, int]  # code to token; empty for an English-only checkpoint
    tasks: Mapping[str, int]
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    max_initial_timestamp_index: int | None
    max_length: int | None  # generated tokens at most, where the checkpoint says so
    supports_previous_text: bool = (
        True  # False: it has not learnt to be told the words before, and errs if it is
    )
    chunk_length: float | None = None  # seconds of the longest window that it hears well, likewise
    previous: int | None = None  # <|startofprev|>; None: it cannot be given a text
    alignment_heads: tuple[tuple[int, int], ...] = ()  # (layer, head) that follow the words in time

    @property
    def timestamp_begin(self) -> int:
        """The token of 0.00 s."""
        return self.no_timestamps + 1

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return bool(self.languages)

    def language_code(self, language: str) -> str:
        """The code of a language given as code or English name, in any case.

        Raises ValueError, naming the way out, for one that this checkpoint does not know.
        """
        name = language.strip().lower()
        code = TO_LANGUAGE_CODE.get(name, name)
        if not self.is_multilingual:
            if code != ENGLISH:
                raise ValueError(f"language {language!r}: this model knows only English")
        elif code not in self.languages:
            some = ", ".join(list(self.languages)[:8])
            raise ValueError(
                f"language {language!r}: this model knows {len(self.languages)} languages "
                f"({some}, ...); leave it out to have it detected"
            )
        return str(code)

    def check_task(self, task: str) -> None:
        """Raises ValueError for a task that this checkpoint cannot do."""
        if task != "transcribe" and task not in self.tasks:
            raise ValueError(f"task {task!r}: this model can only transcribe")

    def prompt(self, language: str, task: str, previous: Sequence[int] = ()) -> list[int]:
        """What the decoder is given before the first token. previous: tokens that came before."""
        before = [self.previous, *previous] if previous and self.previous is not None else []
        if not self.is_multilingual:
            return [*before, self.start]
        return [*before, self.start, self.languages[language], self.tasks[task]]

    def max_new_tokens(self, prompt_length: int, positions: int) -> int:
        """New tokens that fit behind a prompt; a checkpoint's own limit leaves the prompt out.

        positions: how many tokens the decoder can tell apart, prompt included.
        """
        limit = self.max_length
        return min(positions, positions if limit is None else limit + prompt_length) - prompt_length

    @staticmethod
    def mask(tokens: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
        """True at those tokens, shape (size,)."""
        mask = torch.zeros(size, dtype=torch.bool)
        mask[[t for t in tokens if 0 <= t < size]] = True
        return mask.to(device)


def read_special_tokens(generation: Any, tokenizer: Any) -> SpecialTokens:
    """The vocabulary from a checkpoint's generation_config, else from its tokenizer.

    Raises ValueError when a token that decoding needs is missing.
    """

    def token(*names: str) -> int | None:
        known = tokenizer.get_vocab()
        return next((int(known[name]) for name in names if name in known), None)

    def needed(value: Any, *names: str) -> int:
        if isinstance(value, (list, tuple)):
            value = value[0] if value else None
        found = value if value is not None else token(*names)
        if found is None:
            raise ValueError(f"its vocabulary has no {names[0]}")
        return int(found)

    languages = getattr(generation, "lang_to_id", None) or {}
    tasks = getattr(generation, "task_to_id", None) or {}
    is_multilingual = getattr(generation, "is_multilingual", bool(languages))
    return SpecialTokens(
        start=needed(generation.decoder_start_token_id, "<|startoftranscript|>"),
        end=needed(generation.eos_token_id, "<|endoftext|>"),
        no_speech=token("<|nospeech|>", "<|nocaptions|>"),
        no_timestamps=needed(
            getattr(generation, "no_timestamps_token_id", None), "<|notimestamps|>"
        ),
        previous=token("<|startofprev|>"),
        alignment_heads=tuple(
            (int(layer), int(head)) for layer, head in generation.alignment_heads or ()
        )
        if getattr(generation, "alignment_heads", None)
        else (),
        languages={k.strip("<|>"): int(v) for k, v in languages.items()} if is_multilingual else {},
        tasks={k: int(v) for k, v in tasks.items()} if is_multilingual else {},
        suppressed=tuple(generation.suppress_tokens or ()),
        suppressed_first=tuple(generation.begin_suppress_tokens or ()),
        max_initial_timestamp_index=getattr(generation, "max_initial_timestamp_index", None),
        max_length=generation.max_length,
        supports_previous_text=getattr(generation, "condition_on_prev_tokens", None) is not False,
        chunk_length=getattr(generation, "chunk_length", None),
    )
