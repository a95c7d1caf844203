"""Decode windows to tokens: prefill, the decoder's interface, and its implementation by transformers."""

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
from thoth_watch.infrastructure.whisper.decoding.search import Decoded, Search
from thoth_watch.infrastructure.whisper.decoding.special_tokens import ENGLISH, SpecialTokens
from thoth_watch.infrastructure.whisper.decoding.word_timestamps import AlignmentWeights
from thoth_watch.infrastructure.whisper.loading.load_whisper import LoadedWhisper
from thoth_watch.infrastructure.whisper.network.decoder_steps import (
    DecoderCache,
    StepDecoder,
    TransformersCache,
    TransformersStepDecoder,
)
from thoth_watch.infrastructure.whisper.network.silence_warnings import silence_warnings


@dataclass(frozen=True, slots=True)
class Prefill:
    """The decoder's state after reading only the start token, for each window."""

    no_speech_probs: list[float]
    languages: list[str]  # code of the most probable language
    cache: Any  # the decoder's cache, which contains the start token
    logits: Tensor  # float32, (n_windows, vocabulary)


def read_prefill(logits: Tensor, special_tokens: SpecialTokens, *, cache: Any) -> Prefill:
    """Return no-speech probability and language of each window, with its cache and logits.

    logits: those after the start token, shape (n_windows, vocabulary).
    """
    n_windows = len(logits)
    no_speech = [0.0] * n_windows
    if special_tokens.no_speech is not None:
        no_speech = logits.softmax(dim=-1)[:, special_tokens.no_speech].tolist()
    languages = [ENGLISH] * n_windows
    if special_tokens.is_multilingual:
        codes, ids = zip(*special_tokens.languages.items(), strict=True)
        most_probable = logits[:, list(ids)].argmax(dim=-1).tolist()
        languages = [codes[i] for i in most_probable]
    return Prefill(no_speech, languages, cache, logits)


class WindowDecoder(ABC):
    """Decodes the windows of a forward pass, which may differ in language, task and prompt."""

    def __init__(self, steps: StepDecoder, search: Search, options: DecodingOptions) -> None:
        self._steps, self._search, self._options = steps, search, options

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """Return the encoder output, shape (n_windows, positions, d_model).

        features: log-mels, float32, shape (n_windows, n_mels, 2 * positions).
        """

    @abstractmethod
    def prefill(self, hidden: Tensor) -> Prefill:
        """Run one decoder step on the start token, which gives no-speech probability and language.

        hidden: the encoder output.
        """

    @abstractmethod
    def greedy(
        self, hidden: Tensor, prefill: Prefill, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """Decode all windows greedily. prompts: prompt tokens of each window, of equal length."""

    @abstractmethod
    def _read_prompts(
        self, prefill: Prefill, prompts: Sequence[list[int]], rows: Tensor
    ) -> tuple[DecoderCache, Tensor]:
        """Return a new cache in which the rows have read their prompts, and the next token's logits.

        rows: the window of each prompt, shape (n_prompts,).
        """

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
        """Decode some of the windows to text and timestamp tokens.

        Uses beam search or greedy decoding at temperature 0, sampling above.
        rows: indices of the windows in `hidden`. prompts, seeds: one per row; prompts may differ in
        length, and a window's samples depend only on its seed, not on the other windows.
        careful: use beam search even if the options ask for greedy decoding.
        """
        options = self._options.careful() if careful else self._options
        by_length: dict[int, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(index)
        decoded: dict[int, Decoded] = {}
        for indices in by_length.values():
            group = [prompts[index] for index in indices]
            windows = [rows[index] for index in indices]
            if temperature == 0 and options.beam_size == 1:
                is_all = len(windows) == len(hidden)
                results = (
                    self.greedy(hidden, prefill, group)
                    if is_all
                    else self._decode_greedily(prefill, group, windows)
                )
            elif temperature == 0:
                cache, logits = self._read_prompts(prefill, group, _to_tensor(windows, hidden))
                results = self._search.beam_search(
                    cache,
                    logits,
                    prompt_length=len(group[0]),
                    beam_size=options.beam_size,
                    patience=options.patience,
                    length_penalty=options.length_penalty,
                )
            else:
                results = self._sample_best(
                    prefill, group, windows, temperature, [seeds[index] for index in indices]
                )
            decoded.update(zip(indices, results, strict=True))
        return [decoded[index] for index in range(len(prompts))]

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
        """Return the cross-attention weights of the alignment heads over each window's text.

        The decoder reads prompt, text tokens and end-of-text again in one forward pass.
        rows: the window of each prompt and text. heads: the alignment heads, as (layer, head).
        """
        end = self._search.end
        tokens = [[*p, *t, end] for p, t in zip(prompts, texts, strict=True)]
        longest = max(map(len, tokens))
        padded = [row + [end] * (longest - len(row)) for row in tokens]
        cache = prefill.cache.without_tokens(_to_tensor(rows, prefill.logits))
        weights, logits = self._steps.align(_to_tensor(padded, prefill.logits), cache, heads)
        return [
            AlignmentWeights(weights[i, :, : len(row)], logits[i, : len(row)])
            for i, row in enumerate(tokens)
        ]

    def _decode_greedily(
        self, prefill: Prefill, prompts: Sequence[list[int]], windows: Sequence[int]
    ) -> list[Decoded]:
        """Decode some of the windows greedily."""
        cache, logits = self._read_prompts(prefill, prompts, _to_tensor(windows, prefill.logits))
        return self._search.run(cache, logits, prompt_length=len(prompts[0]))

    def _sample_best(
        self,
        prefill: Prefill,
        prompts: Sequence[list[int]],
        windows: Sequence[int],
        temperature: float,
        seeds: Sequence[int],
    ) -> list[Decoded]:
        """Draw `best_of` samples per window; return the one with the highest average log-probability."""
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
            _to_tensor([window for window in windows for _ in range(n)], prefill.logits),
        )
        samples = self._search.run(
            cache,
            logits,
            prompt_length=len(prompts[0]),
            temperature=temperature,
            draws=torch.from_numpy(draws).to(device),
        )
        by_window = [samples[start : start + n] for start in range(0, len(samples), n)]
        return [max(group, key=lambda sample: sample.avg_logprob) for group in by_window]


def _to_tensor(rows: Sequence[Any], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)


class TransformersWindowDecoder(WindowDecoder):
    """The decoder that runs transformers' modules, and for greedy decoding also transformers' loop."""

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
        """Return the encoder output, shape (n_windows, 1500, d_model), in the decoder's dtype."""
        inputs = features.to(self._loaded.device, self._loaded.encoder_dtype)
        hidden: Tensor = self._model.get_encoder()(inputs).last_hidden_state
        return hidden.to(self._loaded.decoder_dtype)

    @torch.inference_mode()
    def prefill(self, hidden: Tensor) -> Prefill:
        """Run one decoder step on the start token."""
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
        """Decode all windows greedily with transformers' generation loop.

        Calls GenerationMixin.generate on the encoder output, because Whisper's own `generate`, the
        long-form wrapper, would encode again. A window ends at the latest at the decoder's last position.
        """
        prompt = torch.tensor(prompts, device=hidden.device)
        length = prompt.shape[1]
        special = self._special_tokens
        # the prefill's cache already contains the start token and the cross-attention keys
        past_key_values = (
            prefill.cache.past_key_values if length > 1 and prompts[0][0] == special.start else None
        )
        input_ids = prompt if past_key_values is None else prompt[:, 1:]
        generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=special.max_new_tokens(length, self._model.config.max_target_positions),
            use_cache=self._use_cache,
            decoder_start_token_id=special.start,
            bos_token_id=special.end,
            eos_token_id=special.end,
            pad_token_id=special.end,
            no_timestamps_token_id=special.no_timestamps,
            max_initial_timestamp_index=special.max_initial_timestamp_index,
        )
        begin = input_ids.shape[1]
        logprobs_recorder = ChosenLogProbs()
        extra = {"past_key_values": past_key_values} if past_key_values is not None else {}
        with silence_warnings():
            sequences = GenerationMixin.generate(
                self._model,
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                decoder_input_ids=input_ids,
                generation_config=generation_config,
                logits_processor=[
                    Suppression(*self._search.masks, begin=begin),
                    WhisperTimeStampLogitsProcessor(generation_config, begin_index=begin),
                    logprobs_recorder,
                ],
                **extra,
            )
        generated = sequences[:, begin:].tolist()
        return [
            Decoded.cut(
                tokens, sum(logprobs[: _generated_length(special.end, tokens)]), end=special.end
            )
            for tokens, logprobs in zip(generated, logprobs_recorder.by_window(), strict=True)
        ]


class Suppression:
    """A logits processor that suppresses tokens, some of them only as the first token."""

    def __init__(self, always: Tensor, first: Tensor, *, begin: int) -> None:
        self._always = always
        self._first = first | always
        self._begin = begin

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores with suppressed tokens at minus infinity."""
        mask = self._first if input_ids.shape[1] == self._begin else self._always
        return scores.masked_fill(mask, -torch.inf)


class ChosenLogProbs:
    """A logits processor that records the greedy choice's log-probability per window and step."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' signature
        """Record the log-probability of the best token; return the scores unchanged."""
        self._steps.append(scores.amax(dim=-1) - scores.logsumexp(dim=-1))
        return scores

    def by_window(self) -> list[list[float]]:
        """Return each window's log-probabilities, in time order."""
        logprobs: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return logprobs


def _generated_length(end: int, tokens: list[int]) -> int:
    """Return the number of tokens up to and including end-of-text; the rest is padding."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)
