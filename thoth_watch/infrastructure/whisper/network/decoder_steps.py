"""The decoder step and its KV cache, as prefill, greedy decoding, sampling and beam search use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from thoth_watch.infrastructure.whisper.loading.load_whisper import LoadedWhisper


class DecoderCache(Protocol):
    """The encoder output and the tokens that the decoder has read, one row per hypothesis."""

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Keep or reorder the rows, in place.

        rows: indices of the rows to keep, shape (n_kept,), repetitions allowed. within_windows: the
        number of rows and each row's window stay the same, so only the tokens are reordered.
        """

    def without_tokens(self, rows: Tensor | None = None) -> Self:
        """Return a new cache with the same encoder output and no tokens.

        rows: indices of the rows to take, repetitions allowed; None: all.
        """


class StepDecoder(Protocol):
    """A decoder network that reads tokens and predicts the next one."""

    def step(self, tokens: Tensor, cache: Any) -> Tensor:
        """Read tokens, shape (n, k), into the cache; return the next token's logits.

        Logits: float32, (n, vocabulary).
        """

    def align(
        self, tokens: Tensor, cache: Any, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Read tokens, shape (n, k); return cross-attention weights and the logits after each token.

        heads: the alignment heads, as (layer, head). Returns weights, (n, n_heads, k, positions), and
        float32 logits, (n, k, vocabulary).
        """


class TransformersCache:
    """The cache of transformers' modules: encoder output, tokens and past keys and values."""

    def __init__(self, hidden: Tensor, *, use_cache: bool) -> None:
        self.hidden = hidden
        self.past_key_values = (
            EncoderDecoderCache(DynamicCache(), DynamicCache()) if use_cache else None
        )
        self.tokens = torch.zeros(len(hidden), 0, dtype=torch.long, device=hidden.device)

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Keep or reorder the rows, in place, as DecoderCache describes."""
        if not within_windows:
            self.hidden = self.hidden[rows]
        self.tokens = self.tokens[rows]
        if self.past_key_values is not None and len(self.tokens):
            self.past_key_values.reorder_cache(rows)

    def without_tokens(self, rows: Tensor | None = None) -> TransformersCache:
        """Return a new cache with the same encoder output and no tokens."""
        hidden = self.hidden if rows is None else self.hidden[rows]
        return TransformersCache(hidden, use_cache=self.past_key_values is not None)


class TransformersStepDecoder:
    """The decoder of transformers' modules, the reference implementation."""

    def __init__(self, loaded: LoadedWhisper) -> None:
        self._model = loaded.model

    def step(self, tokens: Tensor, cache: TransformersCache) -> Tensor:
        """Read tokens, shape (n, k); return the next token's logits, float32, (n, vocabulary)."""
        cache.tokens = torch.cat([cache.tokens, tokens], dim=1)
        output = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=cache.hidden),
            decoder_input_ids=cache.tokens if cache.past_key_values is None else tokens,
            past_key_values=cache.past_key_values,
            use_cache=cache.past_key_values is not None,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def align(
        self, tokens: Tensor, cache: TransformersCache, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Read tokens; return cross-attention weights of the heads and the logits after each token.

        Forward hooks record the cross-attention queries and keys, from which the weights are computed.
        """
        projections: dict[tuple[int, str], Tensor] = {}
        layers = self._model.get_decoder().layers
        hooks = []
        for layer in {layer for layer, _ in heads}:
            attention = layers[layer].encoder_attn
            for name in ("q_proj", "k_proj"):

                def record(
                    _: Any, __: Any, out: Tensor, key: tuple[int, str] = (layer, name)
                ) -> None:
                    projections[key] = out

                hooks.append(getattr(attention, name).register_forward_hook(record))
        try:
            output = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=cache.hidden),
                decoder_input_ids=tokens,
                use_cache=False,
            )
        finally:
            for hook in hooks:
                hook.remove()
        head_dim = self._model.config.d_model // self._model.config.decoder_attention_heads
        weights = []
        for layer, head in heads:
            part = slice(head * head_dim, (head + 1) * head_dim)
            q, k = (projections[layer, name][..., part].float() for name in ("q_proj", "k_proj"))
            weights.append(torch.softmax(q @ k.transpose(1, 2) * head_dim**-0.5, dim=-1))
        return torch.stack(weights, dim=1), output.logits.float()
