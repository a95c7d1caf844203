"""Windows to tokens by transformers' own modules and greedy loop: the standard engine, and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import GenerationMixin
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from thoth_watch.infrastructure.whisper.loading import LoadedWhisper
from thoth_watch.infrastructure.whisper.quiet import quietly
from thoth_watch.infrastructure.whisper.vocabulary import ENGLISH, Vocabulary


@dataclass(frozen=True, slots=True)
class Opening:
    """What the decoder says to the start token alone, for each window."""

    no_speech_probs: list[float]
    languages: list[str]  # the most probable one's code
    cache: Any  # keys and values so far, None without use_cache
    logits: Tensor  # float32, (n_windows, vocabulary)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The tokens of one window, without end-of-text."""

    tokens: tuple[int, ...]
    avg_logprob: float  # over tokens and end-of-text, as whisper counts

    @classmethod
    def cut(cls, tokens: list[int], logprob: float, *, end: int) -> Decoded:
        """The tokens before end-of-text. logprob: the sum over them and end-of-text, if it came to that."""
        n_tokens = tokens.index(end) if end in tokens else len(tokens)
        return cls(tuple(tokens[:n_tokens]), logprob / (n_tokens + 1))


def read_opening(logits: Tensor, vocabulary: Vocabulary, *, cache: Any) -> Opening:
    """What the logits after the start token, shape (n_windows, vocabulary), tell of each window."""
    n_windows = len(logits)
    no_speech = [0.0] * n_windows
    if vocabulary.no_speech is not None:
        no_speech = logits.softmax(dim=-1)[:, vocabulary.no_speech].tolist()
    languages = [ENGLISH] * n_windows
    if vocabulary.is_multilingual:
        codes, ids = zip(*vocabulary.languages.items(), strict=True)
        likely = logits[:, list(ids)].argmax(dim=-1).tolist()
        languages = [codes[i] for i in likely]
    return Opening(no_speech, languages, cache, logits)


class WindowDecoder:
    """Decodes windows that share a forward pass; they may differ in language and task."""

    def __init__(self, loaded: LoadedWhisper, *, use_cache: bool) -> None:
        self._loaded = loaded
        self._model = loaded.model
        self._vocabulary = loaded.vocabulary
        self._use_cache = use_cache
        vocabulary_size = self._model.config.vocab_size
        self._suppressed = loaded.vocabulary.mask(
            loaded.vocabulary.suppressed, vocabulary_size, loaded.device
        )
        self._suppressed_first = loaded.vocabulary.mask(
            loaded.vocabulary.suppressed_first, vocabulary_size, loaded.device
        )

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """The encoder's output, shape (n_windows, 1500, d_model), in the decoder's number format.

        features: float32, shape (n_windows, n_mels, 3000).
        """
        inputs = features.to(self._loaded.device, self._loaded.encoder_dtype)
        hidden: Tensor = self._model.get_encoder()(inputs).last_hidden_state
        return hidden.to(self._loaded.decoder_dtype)

    @torch.inference_mode()
    def open(self, hidden: Tensor) -> Opening:
        """One decoder step on the start token: whether it is speech, and in which language."""
        n_windows = hidden.shape[0]
        start = torch.full((n_windows, 1), self._vocabulary.start, device=hidden.device)
        output = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            decoder_input_ids=start,
            use_cache=self._use_cache,
        )
        cache = output.past_key_values if self._use_cache else None
        return read_opening(output.logits[:, -1].float(), self._vocabulary, cache=cache)

    @torch.inference_mode()
    def generate(
        self, hidden: Tensor, opening: Opening, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """Greedy tokens with timestamps for each window; prompts are of equal length.

        transformers' own loop runs on the encoder's output, below Whisper's long-form wrapper,
        which would encode again. Every window ends at the latest where the decoder's positions do.
        """
        prompt = torch.tensor(prompts, device=hidden.device)
        length = prompt.shape[1]
        # the start token is in the cache already, and with it the keys of the encoder's output
        cache = opening.cache if length > 1 else None
        given = prompt if cache is None else prompt[:, 1:]
        v = self._vocabulary
        rules = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=v.room(length, self._model.config.max_target_positions),
            use_cache=self._use_cache,
            decoder_start_token_id=v.start,
            bos_token_id=v.end,
            eos_token_id=v.end,
            pad_token_id=v.end,
            no_timestamps_token_id=v.no_timestamps,
            max_initial_timestamp_index=v.max_initial_timestamp_index,
        )
        begin = given.shape[1]
        chosen = ChosenLogProbs()
        extra = {"past_key_values": cache} if cache is not None else {}
        with quietly():
            sequences = GenerationMixin.generate(
                self._model,
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                decoder_input_ids=given,
                generation_config=rules,
                logits_processor=[
                    Suppression(self._suppressed, self._suppressed_first, begin=begin),
                    WhisperTimeStampLogitsProcessor(rules, begin_index=begin),
                    chosen,
                ],
                **extra,
            )
        generated = sequences[:, begin:].tolist()
        return [
            Decoded.cut(tokens, sum(logprobs[: _until(v.end, tokens)]), end=v.end)
            for tokens, logprobs in zip(generated, chosen.by_window(), strict=True)
        ]


class Suppression:
    """Forbids tokens, some of them only as the first one; the masks are made once."""

    def __init__(self, always: Tensor, first: Tensor, *, begin: int) -> None:
        self._always = always
        self._first = first | always
        self._begin = begin

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with the forbidden tokens at minus infinity."""
        mask = self._first if input_ids.shape[1] == self._begin else self._always
        return scores.masked_fill(mask, -torch.inf)


class ChosenLogProbs:
    """Keeps each step's log-probability of the greedy choice: one number per window and step."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' signature
        """The same scores; remembers the best one's log-probability."""
        self._steps.append(scores.amax(dim=-1) - scores.logsumexp(dim=-1))
        return scores

    def by_window(self) -> list[list[float]]:
        """The log-probabilities, for each window in time order."""
        columns: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return columns


def _until(end: int, tokens: list[int]) -> int:
    """How many tokens there are up to end-of-text, with it; what follows it is padding."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)
