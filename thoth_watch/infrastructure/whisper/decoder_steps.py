"""The decoder one step at a time: what every way of searching for words needs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from thoth_watch.infrastructure.whisper.loading import LoadedWhisper


class DecoderCache(Protocol):
    """The encoder's output and the tokens so far, a row for each hypothesis."""

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Go on with these rows; one may stand several times. rows: their indices.

        within_windows: each row comes from one of the same window.
        """

    def without_tokens(self, rows: Tensor | None = None) -> Self:
        """A new memory of the same windows (or of these rows), before the first token."""


class StepDecoder(Protocol):
    """A decoder."""

    def step(self, tokens: Tensor, cache: Any) -> Tensor:
        """Read tokens, shape (n, k); logits of what comes next: float32, (n, vocabulary)."""

    def align(
        self, tokens: Tensor, cache: Any, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Read tokens; where heads (layer, head) looked in the encoder's output, and what comes next.

        Returns (n, n_heads, k, positions) and float32 logits after each token, (n, k, vocabulary).
        """


class TransformersCache:
    """What transformers' modules remember."""

    def __init__(self, hidden: Tensor, *, use_cache: bool) -> None:
        self.hidden = hidden
        self.past_key_values = (
            EncoderDecoderCache(DynamicCache(), DynamicCache()) if use_cache else None
        )
        self.tokens = torch.zeros(len(hidden), 0, dtype=torch.long, device=hidden.device)

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """See StepMemory."""
        if not within_windows:
            self.hidden = self.hidden[rows]
        self.tokens = self.tokens[rows]
        if self.past_key_values is not None and len(self.tokens):
            self.past_key_values.reorder_cache(rows)

    def without_tokens(self, rows: Tensor | None = None) -> TransformersCache:
        """See StepMemory."""
        hidden = self.hidden if rows is None else self.hidden[rows]
        return TransformersCache(hidden, use_cache=self.past_key_values is not None)


class TransformersStepDecoder:
    """transformers' own decoder."""

    def __init__(self, loaded: LoadedWhisper) -> None:
        self._model = loaded.model

    def step(self, tokens: Tensor, cache: TransformersCache) -> Tensor:
        """See Steps."""
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
        """See Steps; the queries and keys are caught on their way through the modules."""
        caught: dict[tuple[int, str], Tensor] = {}
        layers = self._model.get_decoder().layers
        hooks = []
        for layer in {layer for layer, _ in heads}:
            attention = layers[layer].encoder_attn
            for name in ("q_proj", "k_proj"):

                def catch(
                    _: Any, __: Any, out: Tensor, key: tuple[int, str] = (layer, name)
                ) -> None:
                    caught[key] = out

                hooks.append(getattr(attention, name).register_forward_hook(catch))
        try:
            output = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=cache.hidden),
                decoder_input_ids=tokens,
                use_cache=False,
            )
        finally:
            for hook in hooks:
                hook.remove()
        width = self._model.config.d_model // self._model.config.decoder_attention_heads
        looks = []
        for layer, head in heads:
            part = slice(head * width, (head + 1) * width)
            q, k = (caught[layer, name][..., part].float() for name in ("q_proj", "k_proj"))
            looks.append(torch.softmax(q @ k.transpose(1, 2) * width**-0.5, dim=-1))
        return torch.stack(looks, dim=1), output.logits.float()
