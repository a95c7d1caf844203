"""Windows to tokens: how a decoder opens, and how transformers' own modules and greedy loop do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import GenerationMixin
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoder_steps import (
    DecoderCache,
    StepDecoder,
    TransformersCache,
    TransformersStepDecoder,
)
from thoth_watch.infrastructure.whisper.loading import LoadedWhisper
from thoth_watch.infrastructure.whisper.search import Decoded, Search
from thoth_watch.infrastructure.whisper.silence_warnings import silence_warnings
from thoth_watch.infrastructure.whisper.special_tokens import ENGLISH, SpecialTokens
from thoth_watch.infrastructure.whisper.word_timestamps import AlignmentWeights


@dataclass(frozen=True, slots=True)
class Prefill:
    """What the decoder says to the start token alone, for each window."""

    no_speech_probs: list[float]
    languages: list[str]  # the most probable one's code
    cache: Any  # the decoder's, with the start token in it
    logits: Tensor  # float32, (n_windows, vocabulary)


def read_prefill(logits: Tensor, special_tokens: SpecialTokens, *, cache: Any) -> Prefill:
    """What the logits after the start token, shape (n_windows, vocabulary), tell of each window."""
    n_windows = len(logits)
    no_speech = [0.0] * n_windows
    if special_tokens.no_speech is not None:
        no_speech = logits.softmax(dim=-1)[:, special_tokens.no_speech].tolist()
    languages = [ENGLISH] * n_windows
    if special_tokens.is_multilingual:
        codes, ids = zip(*special_tokens.languages.items(), strict=True)
        likely = logits[:, list(ids)].argmax(dim=-1).tolist()
        languages = [codes[i] for i in likely]
    return Prefill(no_speech, languages, cache, logits)


class WindowDecoder(ABC):
    """Decodes windows that share a forward pass; they may differ in language, task and prompt."""

    def __init__(self, steps: StepDecoder, search: Search, options: DecodingOptions) -> None:
        self._steps, self._search, self._options = steps, search, options

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """The encoder's output, shape (n_windows, positions, d_model). features: float32 log-mels."""

    @abstractmethod
    def prefill(self, hidden: Tensor) -> Prefill:
        """One decoder step on the start token: whether it is speech, and in which language."""

    @abstractmethod
    def greedy(
        self, hidden: Tensor, prefill: Prefill, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """The likeliest token each time, for each window; prompts are of equal length."""

    @abstractmethod
    def _read_prompts(
        self, prefill: Prefill, prompts: Sequence[list[int]], rows: Tensor
    ) -> tuple[DecoderCache, Tensor]:
        """A memory of these windows that has read their prompts, and the logits of what comes next."""

    @torch.inference_mode()
    def decode(
        self,
        hidden: Tensor,
        prefill: Prefill,
        prompts: Sequence[list[int]],
        *,
        temperature: float,
        seeds: Sequence[int],
        rows: Sequence[int],
        careful: bool = False,
    ) -> list[Decoded]:
        """Tokens with timestamps for some of the windows, by beam search, samples or greedily.

        prompts, seeds: one for each of `rows`, which are windows of `hidden`; a seed decides what is
        drawn for its window, whatever others it is decoded with. Prompts may differ in length.
        careful: by beam search, whatever was asked for.
        """
        options = self._options.careful() if careful else self._options
        by_length: dict[int, list[int]] = {}
        for place, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(place)
        decoded: dict[int, Decoded] = {}
        for places in by_length.values():
            asked = [prompts[place] for place in places]
            windows = [rows[place] for place in places]
            if temperature == 0 and options.beam_size == 1:
                is_all = len(windows) == len(hidden)
                found = (
                    self.greedy(hidden, prefill, asked)
                    if is_all
                    else self._decode_greedily(prefill, asked, windows)
                )
            elif temperature == 0:
                cache, logits = self._read_prompts(prefill, asked, _index(windows, hidden))
                found = self._search.beam_search(
                    cache,
                    logits,
                    prompt_length=len(asked[0]),
                    beam_size=options.beam_size,
                    patience=options.patience,
                    length_penalty=options.length_penalty,
                )
            else:
                found = self._sample_best(
                    prefill, asked, windows, temperature, [seeds[place] for place in places]
                )
            decoded.update(zip(places, found, strict=True))
        return [decoded[place] for place in range(len(prompts))]

    @torch.inference_mode()
    def align(
        self,
        prefill: Prefill,
        prompts: Sequence[list[int]],
        texts: Sequence[Sequence[int]],
        heads: Sequence[tuple[int, int]],
        *,
        rows: Sequence[int],
    ) -> list[AlignmentWeights]:
        """How the decoder reads the text of some windows again: prompt, text, end-of-text.

        rows: the windows that prompts and texts belong to.
        """
        end = self._search.end
        tokens = [[*p, *t, end] for p, t in zip(prompts, texts, strict=True)]
        longest = max(map(len, tokens))
        padded = [row + [end] * (longest - len(row)) for row in tokens]
        cache = prefill.cache.without_tokens(_index(rows, prefill.logits))
        weights, logits = self._steps.align(_index(padded, prefill.logits), cache, heads)
        return [
            AlignmentWeights(weights[i, :, : len(row)], logits[i, : len(row)])
            for i, row in enumerate(tokens)
        ]

    def _decode_greedily(
        self, prefill: Prefill, prompts: Sequence[list[int]], windows: Sequence[int]
    ) -> list[Decoded]:
        """Greedy tokens of some windows."""
        cache, logits = self._read_prompts(prefill, prompts, _index(windows, prefill.logits))
        return self._search.run(cache, logits, prompt_length=len(prompts[0]))

    def _sample_best(
        self,
        prefill: Prefill,
        prompts: Sequence[list[int]],
        windows: Sequence[int],
        temperature: float,
        seeds: Sequence[int],
    ) -> list[Decoded]:
        """The likeliest on average of `best_of` samples of each window."""
        n = self._options.best_of
        max_new_tokens = self._search.max_new_tokens(len(prompts[0]))
        draws = np.stack(
            [
                1
                - np.random.default_rng([seed, round(100 * temperature), sample]).random(
                    max_new_tokens
                )
                for seed in seeds
                for sample in range(n)
            ]
        )
        device = prefill.logits.device
        cache, logits = self._read_prompts(
            prefill,
            [prompt for prompt in prompts for _ in range(n)],
            _index([window for window in windows for _ in range(n)], prefill.logits),
        )
        found = self._search.run(
            cache,
            logits,
            prompt_length=len(prompts[0]),
            temperature=temperature,
            draws=torch.from_numpy(draws).to(device),
        )
        samples = [found[start : start + n] for start in range(0, len(found), n)]
        return [max(some, key=lambda sample: sample.avg_logprob) for some in samples]


def _index(rows: Sequence[Any], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)


class TransformersWindowDecoder(WindowDecoder):
    """transformers' modules; where it is greedy, transformers' loop too."""

    def __init__(
        self, loaded: LoadedWhisper, *, use_cache: bool, options: DecodingOptions | None = None
    ) -> None:
        options = options or DecodingOptions()
        self._loaded, self._model = loaded, loaded.model
        self._special_tokens, self._use_cache = loaded.special_tokens, use_cache
        config, steps = self._model.config, TransformersStepDecoder(loaded)
        search = Search(
            steps,
            loaded.special_tokens,
            size=config.vocab_size,
            positions=config.max_target_positions,
            device=loaded.device,
            suppressed=options.suppress_tokens,
        )
        super().__init__(steps, search, options)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """The encoder's output, shape (n_windows, 1500, d_model), in the decoder's number format."""
        inputs = features.to(self._loaded.device, self._loaded.encoder_dtype)
        hidden: Tensor = self._model.get_encoder()(inputs).last_hidden_state
        return hidden.to(self._loaded.decoder_dtype)

    @torch.inference_mode()
    def prefill(self, hidden: Tensor) -> Prefill:
        """See WindowDecoder."""
        cache = TransformersCache(hidden, use_cache=self._use_cache)
        start = torch.full((len(hidden), 1), self._special_tokens.start, device=hidden.device)
        return read_prefill(self._steps.step(start, cache), self._special_tokens, cache=cache)

    def _read_prompts(
        self, prefill: Prefill, prompts: Sequence[list[int]], rows: Tensor
    ) -> tuple[DecoderCache, Tensor]:
        cache = prefill.cache.without_tokens(rows)
        return cache, self._steps.step(torch.tensor(prompts, device=rows.device), cache)

    @torch.inference_mode()
    def greedy(
        self, hidden: Tensor, prefill: Prefill, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """See WindowDecoder.

        transformers' own loop runs on the encoder's output, below Whisper's long-form wrapper,
        which would encode again. Every window ends at the latest where the decoder's positions do.
        """
        prompt = torch.tensor(prompts, device=hidden.device)
        length = prompt.shape[1]
        v = self._special_tokens
        # the start token is in the cache already, and with it the keys of the encoder's output
        past_key_values = (
            prefill.cache.past_key_values if length > 1 and prompts[0][0] == v.start else None
        )
        given = prompt if past_key_values is None else prompt[:, 1:]
        rules = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=v.max_new_tokens(length, self._model.config.max_target_positions),
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
        extra = {"past_key_values": past_key_values} if past_key_values is not None else {}
        with silence_warnings():
            sequences = GenerationMixin.generate(
                self._model,
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                decoder_input_ids=given,
                generation_config=rules,
                logits_processor=[
                    Suppression(*self._search.masks, begin=begin),
                    WhisperTimeStampLogitsProcessor(rules, begin_index=begin),
                    chosen,
                ],
                **extra,
            )
        generated = sequences[:, begin:].tolist()
        return [
            Decoded.cut(tokens, sum(logprobs[: _generated_length(v.end, tokens)]), end=v.end)
            for tokens, logprobs in zip(generated, chosen.by_window(), strict=True)
        ]


class Suppression:
    """Forbids tokens, some of them only as the first one; the masks are made once."""

    def __init__(self, always: Tensor, first: Tensor, *, begin: int) -> None:
        self._always = always
        self._first = first | always
        self._read_prompts = begin

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with the forbidden tokens at minus infinity."""
        mask = self._first if input_ids.shape[1] == self._read_prompts else self._always
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


def _generated_length(end: int, tokens: list[int]) -> int:
    """How many tokens there are up to end-of-text, with it; what follows it is padding."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)
