"""Decode windows to tokens with packed weights; windows that have ended leave the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding.search import Decoded, Search
from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens
from thoth_watch.infrastructure.whisper.decoding.window_decoder import (
    Prefill,
    WindowDecoder,
    read_prefill,
)
from thoth_watch.infrastructure.whisper.network.decoder_steps import DecoderCache
from thoth_watch.infrastructure.whisper.network.packed import PackedWhisper


class PackedWindowDecoder(WindowDecoder):
    """The decoder that runs PackedWhisper; its greedy tokens equal those of transformers' loop."""

    def __init__(
        self,
        network: PackedWhisper,
        special_tokens: SpecialTokens,
        *,
        options: DecodingOptions | None = None,
    ) -> None:
        options = options or DecodingOptions()
        self._network, self._special_tokens = network, special_tokens
        search = Search(
            network,
            special_tokens,
            size=network.config.vocab_size,
            positions=network.config.max_target_positions,
            device=network.device,
            suppressed=options.suppress_tokens,
        )
        super().__init__(network, search, options)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """Return the encoder output, shape (n_windows, positions, d_model)."""
        return self._network.encode(features)

    @torch.inference_mode()
    def prefill(self, hidden: Tensor) -> Prefill:
        """Build the KV cache and run one decoder step on the start token."""
        cache = self._network.build_cache(
            hidden, max_tokens=self._network.config.max_target_positions
        )
        start = torch.full((len(hidden), 1), self._special_tokens.start, device=hidden.device)
        return read_prefill(self._network.step(start, cache), self._special_tokens, cache=cache)

    def _read_prompts(
        self, prefill: Prefill, prompts: Sequence[list[int]], rows: Tensor
    ) -> tuple[DecoderCache, Tensor]:
        cache = prefill.cache.without_tokens(rows)
        return cache, self._network.step(torch.tensor(prompts, device=rows.device), cache)

    @torch.inference_mode()
    def greedy(
        self, hidden: Tensor, prefill: Prefill, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """Decode all windows greedily, starting from the prefill's cache where the prompt allows it."""
        prompt, special = torch.tensor(prompts, device=hidden.device), self._special_tokens
        if prompts[0][0] == special.start:  # the prefill's cache already contains it
            cache, logits = copy.copy(prefill.cache), prefill.logits.clone()
            rest = prompt[:, 1:]
        else:
            cache, rest = prefill.cache.without_tokens(), prompt
        if rest.shape[1]:
            logits = self._network.step(rest, cache)
        return self._search.run(cache, logits, prompt_length=prompt.shape[1])
