"""The special tokens of a checkpoint: languages, tasks, timestamps and suppressed tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The token ids and limits of a checkpoint that control decoding."""

    start: int  # <|startoftranscript|>
    end: int  # <|endoftext|>
    no_speech: int | None  # <|nospeech|>; None: this checkpoint has no no-speech probability
    no_timestamps: int
    languages: Mapping[str, int]  # code to token; empty for an English-only checkpoint
    tasks: Mapping[str, int]
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    max_initial_timestamp_index: int | None
    max_length: int | None  # maximum number of generated tokens; None: no own limit
    # False: not trained with previous text as prompt, which makes its output worse
    supports_previous_text: bool = True
    chunk_length: float | None = None  # maximum window in seconds; None: not specified
    previous: int | None = None  # <|startofprev|>; None: prompts are not supported
    alignment_heads: tuple[tuple[int, int], ...] = ()  # (layer, head) used for word timestamps

    @property
    def timestamp_begin(self) -> int:
        """Return the timestamp token of 0.00 s."""
        return self.no_timestamps + 1

    @property
    def is_multilingual(self) -> bool:
        """Return True if the model supports languages other than English."""
        return bool(self.languages)

    def language_code(self, language: str) -> str:
        """Return the code of a language given as code or English name, ignoring case.

        Raises ValueError, with the fix, for a language that this checkpoint does not support.
        """
        name = language.strip().lower()
        code = TO_LANGUAGE_CODE.get(name, name)
        if not self.is_multilingual:
            if code != ENGLISH:
                raise ValueError(f"language {language!r}: this model knows only English")
        elif code not in self.languages:
            examples = ", ".join(list(self.languages)[:8])
            raise ValueError(
                f"language {language!r}: this model knows {len(self.languages)} languages "
                f"({examples}, ...); omit the language to have it detected"
            )
        return str(code)

    def check_task(self, task: str) -> None:
        """Raise ValueError for a task that this checkpoint does not support."""
        if task != "transcribe" and task not in self.tasks:
            raise ValueError(f"task {task!r}: this model can only transcribe")

    def prompt(self, language: str, task: str, previous: Sequence[int] = ()) -> list[int]:
        """Return the prompt tokens. previous: tokens of previous text or of an initial prompt."""
        prefix = [self.previous, *previous] if previous and self.previous is not None else []
        if not self.is_multilingual:
            return [*prefix, self.start]
        return [*prefix, self.start, self.languages[language], self.tasks[task]]

    def max_new_tokens(self, prompt_length: int, positions: int) -> int:
        """Return the maximum number of new tokens after a prompt of that length.

        positions: the decoder's maximum number of tokens, prompt included. A checkpoint's own
        max_length does not include the prompt.
        """
        limit = self.max_length
        return min(positions, positions if limit is None else limit + prompt_length) - prompt_length

    @staticmethod
    def mask(tokens: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
        """Return a mask that is true at the tokens, shape (size,)."""
        mask = torch.zeros(size, dtype=torch.bool)
        mask[[t for t in tokens if 0 <= t < size]] = True
        return mask.to(device)


def read_special_tokens(generation: Any, tokenizer: Any) -> SpecialTokens:
    """Read the special tokens from a checkpoint's generation_config, else from its tokenizer.

    Raises ValueError if a token that decoding needs is missing.
    """

    def token(*names: str) -> int | None:
        vocabulary = tokenizer.get_vocab()
        return next((int(vocabulary[name]) for name in names if name in vocabulary), None)

    def required_token(value: Any, *names: str) -> int:
        if isinstance(value, (list, tuple)):
            value = value[0] if value else None
        token_id = value if value is not None else token(*names)
        if token_id is None:
            raise ValueError(f"its vocabulary has no {names[0]}")
        return int(token_id)

    languages = getattr(generation, "lang_to_id", None) or {}
    tasks = getattr(generation, "task_to_id", None) or {}
    is_multilingual = getattr(generation, "is_multilingual", bool(languages))
    return SpecialTokens(
        start=required_token(generation.decoder_start_token_id, "<|startoftranscript|>"),
        end=required_token(generation.eos_token_id, "<|endoftext|>"),
        no_speech=token("<|nospeech|>", "<|nocaptions|>"),
        no_timestamps=required_token(
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
