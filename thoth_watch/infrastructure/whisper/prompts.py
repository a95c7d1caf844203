"""What the decoder is told before a window: the text of a person, and the words that came before."""

from __future__ import annotations

from typing import Any

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.recording_job import RecordingJob
from thoth_watch.infrastructure.whisper.special_tokens import SpecialTokens


class PromptBuilder:
    """Makes the tokens that stand before a window's own."""

    def __init__(
        self,
        tokenizer: Any,
        special_tokens: SpecialTokens,
        options: DecodingOptions,
        *,
        positions: int,
    ) -> None:
        """positions: of the decoder; half of them may be filled with what came before."""
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
        """The prompt of one window of a recording, to its language and task token.

        A person's prompt stands before the first window (or each), then the words of the windows
        before, if they condition it; the latest are kept where there is too little room.
        """
        options = self._options
        said = job.recording.prompt if job.recording.prompt is not None else options.initial_prompt
        conditions = self._is_conditioned and not job.is_careful
        given = self._encode(said) if said else []
        carried = [*self._hotwords, *(given if options.carry_initial_prompt else [])][
            : self._max_prompt_tokens
        ]
        earlier: list[int] = []
        if not options.carry_initial_prompt and (is_first or conditions):
            earlier += given
        if conditions:
            earlier += job.previous
        room = self._max_prompt_tokens - len(carried)
        previous = [*carried, *(earlier[-room:] if room else [])]
        return self._special_tokens.prompt(language, job.recording.task, previous)
