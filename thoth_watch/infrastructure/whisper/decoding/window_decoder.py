"""Decode the windows of a forward pass to tokens: prefill, greedy decoding, sampling, beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding.search import Decoded, Search
from thoth_watch.infrastructure.whisper.decoding.special_tokens import ENGLISH, SpecialTokens
from thoth_watch.infrastructure.whisper.decoding.word_timestamps import AlignmentWeights
from thoth_watch.infrastructure.whisper.network.interface import DecoderState, WhisperNetwork


@dataclass(frozen=True, slots=True)
class Prefill:
    """The decoder's state after reading only the start token, for each window."""

    no_speech_probs: list[float]
    languages: list[str]  # code of the most probable language
    state: DecoderState  # has read the start token
    logits: Tensor  # float32, (n_windows, vocabulary)


def _read_prefill(state: DecoderState, logits: Tensor, special_tokens: SpecialTokens) -> Prefill:
    """Return no-speech probability and language of each window, with their state and logits.

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
    return Prefill(no_speech, languages, state, logits)


class WindowDecoder:
    """Decodes the windows of a forward pass, which may differ in language, task and prompt."""

    def __init__(
        self,
        network: WhisperNetwork,
        special_tokens: SpecialTokens,
        *,
        options: DecodingOptions | None = None,
    ) -> None:
        """Prepare the search for tokens. options: None: the defaults."""
        self._network, self._options = network, options or DecodingOptions()
        self._search = Search(
            special_tokens,
            size=network.config.vocab_size,
            positions=network.config.max_target_positions,
            device=network.device,
            suppressed=self._options.suppress_tokens,
        )

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """Return the encoder output, shape (n_windows, positions, d_model).

        features: log-mels, float32, shape (n_windows, n_mels, 2 * positions).
        """
        return self._network.encode(features)

    @torch.inference_mode()
    def prefill(self, hidden: Tensor) -> Prefill:
        """Run one decoder step on the start token, which gives no-speech probability and language.

        hidden: the encoder output.
        """
        special = self._search.special_tokens
        start = torch.full((len(hidden), 1), special.start, device=hidden.device)
        return _read_prefill(*self._network.prefill(hidden, start), special)

    @torch.inference_mode()
    def greedy(self, prefill: Prefill, prompts: Sequence[list[int]]) -> list[Decoded]:
        """Decode all windows greedily. prompts: prompt tokens of each window, of equal length."""
        return prefill.state.greedy(prompts, prefill.logits, self._search)

    @torch.inference_mode()
    def decode(
        self,
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
        rows: indices of the windows of `prefill`. prompts, seeds: one per row; prompts may differ in
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
                is_all = len(windows) == len(prefill.logits)
                results = (
                    self.greedy(prefill, group)
                    if is_all
                    else self._decode_greedily(prefill, group, windows)
                )
            elif temperature == 0:
                state, logits = self._read_prompts(prefill, group, windows)
                results = self._search.beam_search(
                    state,
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
        end = self._search.special_tokens.end
        tokens = [[*p, *t, end] for p, t in zip(prompts, texts, strict=True)]
        longest = max(map(len, tokens))
        padded = [row + [end] * (longest - len(row)) for row in tokens]
        state = prefill.state.without_tokens(_to_tensor(rows, prefill.logits))
        weights, logits = state.align(_to_tensor(padded, prefill.logits), heads)
        return [
            AlignmentWeights(weights[i, :, : len(row)], logits[i, : len(row)])
            for i, row in enumerate(tokens)
        ]

    @staticmethod
    def _read_prompts(
        prefill: Prefill, prompts: Sequence[list[int]], windows: Sequence[int]
    ) -> tuple[DecoderState, Tensor]:
        """Return a new state whose rows have read their prompts, and the next token's logits.

        windows: the window of each prompt.
        """
        state = prefill.state.without_tokens(_to_tensor(windows, prefill.logits))
        return state, state.step(_to_tensor(prompts, prefill.logits))

    def _decode_greedily(
        self, prefill: Prefill, prompts: Sequence[list[int]], windows: Sequence[int]
    ) -> list[Decoded]:
        """Decode some of the windows greedily."""
        state, logits = self._read_prompts(prefill, prompts, windows)
        return self._search.run(state, logits, prompt_length=len(prompts[0]))

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
        state, logits = self._read_prompts(
            prefill,
            [prompt for prompt in prompts for _ in range(n)],
            [window for window in windows for _ in range(n)],
        )
        samples = self._search.run(
            state,
            logits,
            prompt_length=len(prompts[0]),
            temperature=temperature,
            draws=torch.from_numpy(draws).to(device),
        )
        by_window = [samples[start : start + n] for start in range(0, len(samples), n)]
        return [max(group, key=lambda sample: sample.avg_logprob) for group in by_window]


def _to_tensor(rows: Sequence[Any], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)
