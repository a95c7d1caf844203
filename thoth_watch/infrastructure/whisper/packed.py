"""Whisper's encoder and decoder as plain functions over packed weights: what the engines compute with.

transformers' modules are the reference, and what the standard engine runs; these give the same
tokens from the same checkpoint, with projections fused, the keys of the encoder's output computed
once for all layers, and caches of a fixed size. What the layers add up stays in float32, whatever
they compute in: rounding it after each of them costs words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from thoth_watch.infrastructure.whisper.attention import (
    attend,
    attend_by_window,
    attend_with_one_query,
)
from thoth_watch.infrastructure.whisper.cuda_graph import CapturedStep, StepCapturer
from thoth_watch.infrastructure.whisper.linear_layers import Linear
from thoth_watch.infrastructure.whisper.placement import has_native_bfloat16
from thoth_watch.infrastructure.whisper.weight_packing import (
    CrossAttention,
    FeedForward,
    Norm,
    WeightPacker,
)

ROWS_PER_STEP = 8  # windows that are decoded together; only speed depends on it
INT8_CHUNK_ROWS = 750  # int8 layers give float32: more rows of four times the width leave the cache
WINDOWS_PER_CHUNK = 2  # of the encoder on a CPU: more would only need more memory


@dataclass(slots=True)
class KVCache:
    """What the decoder looks at, a row for each hypothesis.

    keys, values: per layer (n, heads, positions, head).
    own: per layer keys and values of the tokens so far, each (n_rows, heads, max_tokens, head).
    windows: which of the n each row is of; None: row by row. On a CPU the keys stay where they are,
    however many rows there are of a window: they take more memory than all else.
    """

    keys: list[Tensor]
    values: list[Tensor]
    self_attention: list[tuple[Tensor, Tensor]]
    windows: list[int] | None = None
    n_tokens: int = 0
    n_stable_steps: int = 0  # steps since rows were last exchanged
    captured: CapturedStep | None = None  # on a GPU: its step over these very tensors

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """See StepMemory."""
        self.captured, self.n_stable_steps = None, 0
        if not within_windows:
            self._select_windows(rows)
        self.self_attention = [(k[rows], v[rows]) for k, v in self.self_attention]

    def without_tokens(self, rows: Tensor | None = None) -> KVCache:
        """See StepMemory."""
        cache = KVCache(self.keys, self.values, [], self.windows)
        if rows is not None:
            cache._select_windows(rows)
        n_rows = len(cache.keys[0]) if cache.windows is None else len(cache.windows)
        shape = (n_rows, *self.self_attention[0][0].shape[1:])
        cache.self_attention = [
            (k.new_empty(shape), v.new_empty(shape)) for k, v in self.self_attention
        ]
        return cache

    def _select_windows(self, rows: Tensor) -> None:
        if rows.device.type != "cpu":  # one kernel for all rows is worth the copy
            self.keys = [part[rows] for part in self.keys]
            self.values = [part[rows] for part in self.values]
            return
        known = range(len(self.keys[0])) if self.windows is None else self.windows
        windows = [known[row] for row in rows.tolist()]
        self.windows = None if windows == list(range(len(self.keys[0]))) else windows


class PackedWhisper:
    """A loaded Whisper, its weights taken over from transformers' model, which is empty afterwards."""

    def __init__(self, model: Any, *, encoder: str, decoder: str) -> None:
        """model: WhisperForConditionalGeneration, on the device to compute on.

        encoder, decoder: number formats, see `build_linear`.
        """
        self.config = config = model.config
        self._n_heads: int = config.decoder_attention_heads
        self._step_capturer = StepCapturer()
        # the head first: converting it takes the most memory
        steps = WeightPacker(n_rows=ROWS_PER_STEP, precision=decoder)
        self._head = steps.linear(model.proj_out, keep=True)
        embeddings = model.model.decoder.embed_tokens.weight
        self._embeddings = (
            steps.copy_tensor(embeddings) if decoder == "int8" else steps.tensor(embeddings)
        )
        model.proj_out = None
        taken = WeightPacker(
            n_rows=WINDOWS_PER_CHUNK * config.max_source_positions, precision=encoder
        )
        source = model.model.encoder
        self._convolutions = [taken.convolution(c) for c in (source.conv1, source.conv2)]
        self._encoder_positions = taken.tensor(source.embed_positions.weight).float()
        self._encoder_layers = [
            (taken.attention(layer), taken.feed_forward(layer)) for layer in source.layers
        ]
        self._encoder_norm = taken.norm(source.layer_norm)
        # products of activations: there is no faster format for them than the processor's bfloat16
        is_halved = encoder == "int8" and has_native_bfloat16()
        self._attention_dtype = (
            torch.bfloat16 if is_halved else self._encoder_layers[0][0].qkv.dtype
        )
        layers = model.model.decoder.layers
        # in the encoder's format: it is the encoder's output that goes through them
        crossed = [p for la in layers for p in (la.encoder_attn.k_proj, la.encoder_attn.v_proj)]
        self._cross_projections = taken.linear(*crossed)
        source = model.model.decoder
        self._token_positions = steps.tensor(source.embed_positions.weight)
        self._decoder_layers = [
            (steps.attention(layer), steps.cross_attention(layer), steps.feed_forward(layer))
            for layer in source.layers
        ]
        self._decoder_norm = steps.norm(source.layer_norm)
        # int8 layers take and give float32; keys take the most memory, and are read at each step
        self._cache_dtype = self._attention_dtype if decoder == "int8" else self.decoder_dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._embeddings.device

    @property
    def encoder_precision(self) -> str:
        """Number format of the encoder's layers."""
        attention, _ = self._encoder_layers[0]
        return attention.qkv.precision

    @property
    def decoder_precision(self) -> str:
        """Number format of the decoder's layers."""
        return self._head.precision

    @property
    def encoder_dtype(self) -> torch.dtype:
        """Number format of the encoder's weights, but for int8 ones."""
        return self._convolutions[0][0].dtype

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Number format of the decoder's weights, but for int8 ones."""
        return self._token_positions.dtype

    def encode(self, features: Tensor) -> Tensor:
        """The encoder's output, shape (n, positions, d_model).

        features: log-mels, shape (n, n_mels, 2 * positions); fewer than the model's 1500 positions
        are the start of a window.
        """
        if self.device.type != "cpu":
            return self._encode(features)
        # rows that go through an int8 layer together share a scale: windows must not change each other
        at_once = 1 if self.encoder_precision == "int8" else WINDOWS_PER_CHUNK
        return torch.cat([self._encode(part) for part in features.split(at_once)])

    def _encode(self, features: Tensor) -> Tensor:
        x = features.to(self.device, self.encoder_dtype)
        for (weight, bias), stride in zip(self._convolutions, (1, 2), strict=True):
            x = functional.gelu(functional.conv1d(x, weight, bias, stride=stride, padding=1))
        x = x.transpose(1, 2).float() + self._encoder_positions[: x.shape[2]]
        for attention, feed_forward in self._encoder_layers:
            made = attention.qkv(_normalize(x, attention.norm, attention.qkv))
            q, k, v = self._split_heads(made.to(self._attention_dtype), 3)
            x = x + attention.out(_merge_heads(attend(q, k, v)).to(attention.out.dtype))
            x = x + _feed_forward(_normalize(x, feed_forward.norm, feed_forward.up), feed_forward)
        return _normalize(x, self._encoder_norm, self._cross_projections)

    def build_cache(self, hidden: Tensor, *, max_tokens: int) -> KVCache:
        """Keys and values of an encoder's output for all layers, and room for so many tokens."""
        n_layers, head = len(self._decoder_layers), hidden.shape[2] // self._n_heads
        n, positions, _ = hidden.shape
        seen = (n, self._n_heads, positions, head)
        both = [hidden.new_empty(seen, dtype=self._cache_dtype) for _ in range(2 * n_layers)]
        at_once = (
            1 if self.device.type == "cpu" else n
        )  # all layers' at once: 55 MB of whisper-small
        for start in range(0, n, at_once):
            rows = slice(start, start + at_once)
            made = self._cross_projections(hidden[rows])
            split = made.view(len(made), positions, 2 * n_layers, self._n_heads, head)
            for part, target in enumerate(both):
                target[rows] = split[:, :, part].transpose(1, 2)
        room, dtype = (n, self._n_heads, max_tokens, head), self.decoder_dtype
        self_attention = [
            (hidden.new_empty(room, dtype=dtype), hidden.new_empty(room, dtype=dtype))
            for _ in range(n_layers)
        ]
        return KVCache(both[::2], both[1::2], self_attention)

    def step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Read tokens, shape (n, k); logits of what comes after the last: float32, (n, vocabulary)."""
        if self.device.type == "cuda" and tokens.shape[1] == 1:
            return self._step_capturer.step(self, tokens, cache)
        return self.plain_step(tokens, cache)

    def plain_step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """As `step`, kernel by kernel."""
        x = self._forward(tokens, cache)[:, -1]
        return self._head(_normalize(x, self._decoder_norm, self._head)).float()

    def static_step(
        self, tokens: Tensor, cache: KVCache, *, position: Tensor, seen: Tensor
    ) -> Tensor:
        """As `step` for one token a row at position `position`, shape (1,), without shapes that change.

        seen: what of the cache is written, true there, shape (max_tokens,). memory counts nothing.
        """
        x = self._embeddings[tokens].float() + self._token_positions[position]
        for index, (attention, cross, feed_forward) in enumerate(self._decoder_layers):
            q, k, v = self._split_heads(
                attention.qkv(_normalize(x, attention.norm, attention.qkv)), 3
            )
            keys, values = cache.self_attention[index]
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            x = x + attention.out(_merge_heads(attend_with_one_query(q, keys, values, seen=seen)))
            x = self._cross_attend(x, index, cache, cross)
            h = feed_forward.up.gelu(_normalize(x, feed_forward.norm, feed_forward.up))
            x = x + feed_forward.down(h)
        return self._head(_normalize(x[:, -1], self._decoder_norm, self._head)).float()

    def _cross_attend(self, x: Tensor, index: int, cache: KVCache, cross: CrossAttention) -> Tensor:
        """A layer's attention to the encoder's output, added."""
        (q,) = self._split_heads(cross.query(_normalize(x, cross.norm, cross.query)), 1)
        keys, values = cache.keys[index], cache.values[index]
        if cache.windows is None:
            mixed = attend_with_one_query(q, keys, values)
        else:
            mixed = attend_by_window(q, keys, values, cache.windows)
        return x + cross.out(_merge_heads(mixed))

    def align(
        self, tokens: Tensor, cache: KVCache, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Read tokens as `step` does; where heads (layer, head) looked, and what comes after each.

        Returns (n, n_heads, k, positions) and float32 logits (n, k, vocabulary).
        """
        head_weights: dict[tuple[int, int], Tensor] = dict.fromkeys(heads, tokens)
        x = self._forward(tokens, cache, head_weights)
        logits = self._head(_normalize(x, self._decoder_norm, self._head)).float()
        return torch.stack(list(head_weights.values()), dim=1), logits

    def _forward(
        self,
        tokens: Tensor,
        cache: KVCache,
        head_weights: dict[tuple[int, int], Tensor] | None = None,
    ) -> Tensor:
        """What the layers make of tokens, (n, k, d_model). head_weights: heads whose weights are put there."""
        n_new, before = tokens.shape[1], cache.n_tokens
        after = before + n_new
        x = self._embeddings[tokens].float() + self._token_positions[before:after]
        mask = None
        if n_new > 1:
            seen = torch.ones(n_new, after, dtype=torch.bool, device=x.device)
            mask = seen.tril(diagonal=before)
        for index, (attention, cross, feed_forward) in enumerate(self._decoder_layers):
            q, k, v = self._split_heads(
                attention.qkv(_normalize(x, attention.norm, attention.qkv)), 3
            )
            own_keys, own_values = cache.self_attention[index]
            own_keys[:, :, before:after], own_values[:, :, before:after] = k, v
            seen_keys, seen_values = own_keys[:, :, :after], own_values[:, :, :after]
            if mask is None:
                a = attend_with_one_query(q, seen_keys, seen_values)
            else:
                a = functional.scaled_dot_product_attention(
                    q, seen_keys, seen_values, attn_mask=mask
                )
            x = x + attention.out(_merge_heads(a))
            for layer, head in head_weights or ():
                if layer == index and head_weights is not None:
                    (q,) = self._split_heads(cross.query(_normalize(x, cross.norm, cross.query)), 1)
                    keys = cache.keys[index][:, head]
                    keys = keys if cache.windows is None else keys[cache.windows]
                    scores = q[:, head].float() @ keys.float().transpose(1, 2)
                    head_weights[layer, head] = torch.softmax(scores * q.shape[-1] ** -0.5, dim=-1)
            x = self._cross_attend(x, index, cache, cross)
            h = feed_forward.up.gelu(_normalize(x, feed_forward.norm, feed_forward.up))
            x = x + feed_forward.down(h)
        cache.n_tokens = after
        return x

    def _split_heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(n, length, parts * width) to `parts` tensors of shape (n, heads, length, head)."""
        n, length, width = x.shape
        head = width // parts // self._n_heads
        split = x.view(n, length, parts, self._n_heads, head).permute(2, 0, 3, 1, 4)
        return tuple(split)


def _merge_heads(x: Tensor) -> Tensor:
    """(n, heads, length, head) to (n, length, heads * head)."""
    return x.transpose(1, 2).flatten(2)


def _feed_forward(x: Tensor, layer: FeedForward) -> Tensor:
    """A feed-forward layer over many rows, shape (n, length, d_model)."""
    if layer.up.precision != "int8":
        return layer.down(layer.up.gelu(x))
    parts = x.split(INT8_CHUNK_ROWS, dim=1)
    return torch.cat([layer.down(layer.up.gelu(part)) for part in parts], dim=1)


def _normalize(x: Tensor, norm: Norm, next_layer: Linear) -> Tensor:
    """A layer norm in float32, in the number format of the layer that comes then."""
    return functional.layer_norm(x, *norm).to(next_layer.dtype)
