"""The decoder prompt of a window: hotwords, initial prompt, previous text, and the special tokens."""

from __future__ import annotations

from typing import Any

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens
from thoth_watch.infrastructure.whisper.longform.recording_job import RecordingJob


class PromptBuilder:
    """Builds the prompt tokens that the decoder reads before a window's text."""

    def __init__(
        self,
        tokenizer: Any,
        special_tokens: SpecialTokens,
        options: DecodingOptions,
        *,
        positions: int,
    ) -> None:
        """Encode the hotwords.

        positions: the decoder's maximum number of tokens; at most half of them hold previous text.
        """
        self._special_tokens, self._options = special_tokens, options
        self._max_prompt_tokens = positions // 2 - 1
        self._is_conditioned = (
            options.is_sequential
            and options.condition_on_previous_text
            and special_tokens.supports_previous_text
        )
        self._tokenizer = tokenizer
        self._hotwords: list[int] = self._encode(options.hotwords) if options.hotwords else []

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(" " + text.strip(), add_special_tokens=False)
        return tokens

    def build(self, job: RecordingJob, *, language: str, is_first: bool) -> list[int]:
        """Return the prompt tokens of a window, up to its language and task tokens.

        The initial prompt precedes the first window (or every window), then comes the text of the
        previous windows if decoding is conditioned on it. If that exceeds half of the decoder's
        positions, the latest tokens are kept.
        """
        options = self._options
        text = job.recording.prompt if job.recording.prompt is not None else options.initial_prompt
        is_conditioned = self._is_conditioned and not job.is_careful
        initial = self._encode(text) if text else []
        carried = [*self._hotwords, *(initial if options.carry_initial_prompt else [])][
            : self._max_prompt_tokens
        ]
        context: list[int] = []
        if not options.carry_initial_prompt and (is_first or is_conditioned):
            context += initial
        if is_conditioned:
            context += job.previous
        available = self._max_prompt_tokens - len(carried)
        previous = [*carried, *(context[-available:] if available else [])]
        return self._special_tokens.prompt(language, job.recording.task, previous)
