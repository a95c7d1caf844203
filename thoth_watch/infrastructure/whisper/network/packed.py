"""Whisper's encoder and decoder over packed weights, as the accelerated and batch engines run them.

transformers' modules are the reference and run in the standard engine. This network gives the same
tokens from the same checkpoint, with fused projections, cross-attention keys and values computed
once for all layers, and a KV cache of fixed size. The residual stream stays in float32 in every
precision, because rounding it after each layer raises the word error rate.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from thoth_watch.infrastructure.whisper.network.attention import (
    attend,
    attend_by_window,
    attend_with_one_query,
)
from thoth_watch.infrastructure.whisper.network.cuda_graph import StepCapturer
from thoth_watch.infrastructure.whisper.network.kv_cache import KVCache
from thoth_watch.infrastructure.whisper.network.linear_layers import Linear
from thoth_watch.infrastructure.whisper.network.weight_packing import (
    FeedForward,
    Norm,
    WeightPacker,
)
from thoth_watch.infrastructure.whisper.placement import has_native_bfloat16

if TYPE_CHECKING:
    from thoth_watch.infrastructure.whisper.decoding.search import Decoded, Search

ROWS_PER_STEP = 8  # usual rows of a decoder step, for weight packing; it affects only speed
# rows per feed-forward call with int8 weights: the float32 activations, four times as wide as
# d_model, then stay in the processor's cache
INT8_CHUNK_ROWS = 750
WINDOWS_PER_CHUNK = 2  # windows per encoder call on a CPU; more only need more memory

# queries, keys and values of the new tokens, cached keys and values, where it stores the new ones
SelfAttention = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class PackedWhisper:
    """A Whisper network with packed weights, on one device."""

    encodes_short_windows = True

    def __init__(
        self, model: WhisperForConditionalGeneration, *, encoder: str, decoder: str
    ) -> None:
        """Pack the weights of transformers' model, which has none afterwards.

        model: on the device to compute on. encoder, decoder: their precisions, see `build_linear`.
        """
        self.config = config = model.config
        self.device_map: dict[str, str] | None = None
        self._n_heads: int = config.decoder_attention_heads
        self._step_capturer = StepCapturer()
        # the output projection first, because converting it takes the most memory
        decoder_packer = WeightPacker(n_rows=ROWS_PER_STEP, precision=decoder)
        self._head = decoder_packer.linear(model.proj_out, keep=True)
        embeddings = model.model.decoder.embed_tokens.weight
        self._embeddings = (
            decoder_packer.copy_tensor(embeddings)
            if decoder == "int8"
            else decoder_packer.tensor(embeddings)
        )
        self.device = self._embeddings.device
        model.proj_out = None
        encoder_packer = WeightPacker(
            n_rows=WINDOWS_PER_CHUNK * config.max_source_positions, precision=encoder
        )
        source = model.model.encoder
        self._convolutions = [encoder_packer.convolution(c) for c in (source.conv1, source.conv2)]
        self._encoder_positions = encoder_packer.tensor(source.embed_positions.weight).float()
        self._encoder_layers = [
            (encoder_packer.attention(layer), encoder_packer.feed_forward(layer))
            for layer in source.layers
        ]
        self._encoder_norm = encoder_packer.norm(source.layer_norm)
        # attention multiplies activations, which are not quantized; native bfloat16 is the fastest
        is_halved = encoder == "int8" and has_native_bfloat16()
        self._attention_dtype = (
            torch.bfloat16 if is_halved else self._encoder_layers[0][0].qkv.dtype
        )
        layers = model.model.decoder.layers
        # in the encoder's precision, because their input is the encoder output
        projections = [p for la in layers for p in (la.encoder_attn.k_proj, la.encoder_attn.v_proj)]
        self._cross_projections = encoder_packer.linear(*projections)
        source = model.model.decoder
        self._token_positions = decoder_packer.tensor(source.embed_positions.weight)
        self._decoder_layers = [
            (
                decoder_packer.attention(layer),
                decoder_packer.cross_attention(layer),
                decoder_packer.feed_forward(layer),
            )
            for layer in source.layers
        ]
        self._decoder_norm = decoder_packer.norm(source.layer_norm)
        # with int8 layers, activations are float32; the cross-attention keys and values take the most
        # memory and are read in each step, so they have the faster attention dtype
        self._cache_dtype = self._attention_dtype if decoder == "int8" else self.decoder_dtype

    @property
    def encoder_precision(self) -> str:
        """Return the precision of the encoder's layers."""
        attention, _ = self._encoder_layers[0]
        return attention.qkv.precision

    @property
    def decoder_precision(self) -> str:
        """Return the precision of the decoder's layers."""
        return self._head.precision

    @property
    def encoder_dtype(self) -> torch.dtype:
        """Return the dtype of the encoder's weights, except int8 layers."""
        return self._convolutions[0][0].dtype

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Return the dtype of the decoder's weights, except int8 layers."""
        return self._token_positions.dtype

    def encode(self, features: Tensor) -> Tensor:
        """Return the encoder output, shape (n_windows, positions, d_model).

        features: log-mels, shape (n_windows, n_mels, 2 * positions). Fewer positions than the model's
        1500 encode only the start of each window.
        """
        if self.device.type != "cpu":
            return self._encode(features)
        # rows of one call of an int8 layer share a quantization scale, so each window gets its own call:
        # its output must not depend on other windows
        chunk_size = 1 if self.encoder_precision == "int8" else WINDOWS_PER_CHUNK
        return torch.cat([self._encode(chunk) for chunk in features.split(chunk_size)])

    def _encode(self, features: Tensor) -> Tensor:
        x = features.to(self.device, self.encoder_dtype)
        for (weight, bias), stride in zip(self._convolutions, (1, 2), strict=True):
            x = functional.gelu(functional.conv1d(x, weight, bias, stride=stride, padding=1))
        x = x.transpose(1, 2).float() + self._encoder_positions[: x.shape[2]]
        for attention, feed_forward in self._encoder_layers:
            qkv = attention.qkv(_normalize(x, attention.norm, attention.qkv))
            q, k, v = self._split_heads(qkv.to(self._attention_dtype), 3)
            x = x + attention.out(_merge_heads(attend(q, k, v)).to(attention.out.dtype))
            x = x + _feed_forward(_normalize(x, feed_forward.norm, feed_forward.up), feed_forward)
        return _normalize(x, self._encoder_norm, self._cross_projections)

    def build_cache(self, hidden: Tensor, *, max_tokens: int) -> KVCache:
        """Return a KV cache with all layers' cross-attention keys and values and no tokens.

        hidden: the encoder output, shape (n_windows, positions, d_model). max_tokens: its capacity.
        """
        n_layers, head_dim = len(self._decoder_layers), hidden.shape[2] // self._n_heads
        n, positions, _ = hidden.shape
        cross_shape = (n, self._n_heads, positions, head_dim)
        keys_values = [
            hidden.new_empty(cross_shape, dtype=self._cache_dtype) for _ in range(2 * n_layers)
        ]
        # window by window on a CPU: the projections of all layers together take 55 MB per window
        # of whisper-small
        chunk_size = 1 if self.device.type == "cpu" else n
        for start in range(0, n, chunk_size):
            rows = slice(start, start + chunk_size)
            projected = self._cross_projections(hidden[rows])
            split = projected.view(len(projected), positions, 2 * n_layers, self._n_heads, head_dim)
            for part, target in enumerate(keys_values):
                target[rows] = split[:, :, part].transpose(1, 2)
        self_shape, dtype = (n, self._n_heads, max_tokens, head_dim), self.decoder_dtype
        self_attention = [
            (hidden.new_empty(self_shape, dtype=dtype), hidden.new_empty(self_shape, dtype=dtype))
            for _ in range(n_layers)
        ]
        return KVCache(keys_values[::2], keys_values[1::2], self_attention)

    def prefill(self, hidden: Tensor, tokens: Tensor) -> tuple[PackedState, Tensor]:
        """Read the first tokens of each window; return the new state and the next token's logits."""
        cache = self.build_cache(hidden, max_tokens=self.config.max_target_positions)
        state = PackedState(self, cache)
        return state, state.step(tokens)

    def step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Read tokens, shape (n, k), into the cache; return the next token's logits.

        Logits: float32, (n, vocabulary). On a GPU, single-token steps replay a CUDA graph if possible.
        """
        if self.device.type == "cuda" and tokens.shape[1] == 1:
            return self._step_capturer.step(self, tokens, cache)
        return self.plain_step(tokens, cache)

    def plain_step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Read tokens, shape (n, k), without a CUDA graph; return the next token's logits."""
        return self._logits(self._read(tokens, cache, {})[:, -1])

    def static_step(
        self, tokens: Tensor, cache: KVCache, *, position: Tensor, seen: Tensor
    ) -> Tensor:
        """Read one token per row with tensors of fixed shapes only; return the next token's logits.

        position: of the token, shape (1,). seen: attention mask, shape (max_tokens,), true for the
        positions of the cache that are written. Does not update `cache.n_tokens`.
        """

        def attend_to_all(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            return attend_with_one_query(q, keys, values, seen=seen)

        x = self._embeddings[tokens].float() + self._token_positions[position]
        return self._logits(self._run_layers(x, cache, attend_to_all, {})[:, -1])

    def align(
        self, tokens: Tensor, cache: KVCache, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Read tokens, shape (n, k); return cross-attention weights and the logits after each token.

        heads: the alignment heads, as (layer, head). Returns weights, (n, n_heads, k, positions), and
        float32 logits, (n, k, vocabulary).
        """
        head_weights: dict[tuple[int, int], Tensor] = dict.fromkeys(heads, tokens)
        logits = self._logits(self._read(tokens, cache, head_weights))
        return torch.stack(list(head_weights.values()), dim=1), logits

    def _read(
        self, tokens: Tensor, cache: KVCache, head_weights: dict[tuple[int, int], Tensor]
    ) -> Tensor:
        """Read tokens, shape (n, k), into the cache; return the hidden states, (n, k, d_model)."""
        n_new, before = tokens.shape[1], cache.n_tokens
        after = before + n_new
        mask = None
        if n_new > 1:
            ones = torch.ones(n_new, after, dtype=torch.bool, device=tokens.device)
            mask = ones.tril(diagonal=before)

        def attend_to_read(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            keys[:, :, before:after], values[:, :, before:after] = k, v
            keys, values = keys[:, :, :after], values[:, :, :after]
            if mask is None:
                return attend_with_one_query(q, keys, values)
            return functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

        x = self._embeddings[tokens].float() + self._token_positions[before:after]
        x = self._run_layers(x, cache, attend_to_read, head_weights)
        cache.n_tokens = after
        return x

    def _run_layers(
        self,
        x: Tensor,
        cache: KVCache,
        attend_self: SelfAttention,
        head_weights: dict[tuple[int, int], Tensor],
    ) -> Tensor:
        """Run the decoder layers over embedded tokens, (n, k, d_model); return the hidden states.

        head_weights: its keys are (layer, head); the value of each is set to that head's
        cross-attention weights, (n, k, positions).
        """
        for index, (attention, cross, feed_forward) in enumerate(self._decoder_layers):
            q, k, v = self._split_heads(
                attention.qkv(_normalize(x, attention.norm, attention.qkv)), 3
            )
            attended = attend_self(q, k, v, *cache.self_attention[index])
            x = x + attention.out(_merge_heads(attended))
            (q,) = self._split_heads(cross.query(_normalize(x, cross.norm, cross.query)), 1)
            for layer, head in head_weights:
                if layer == index:
                    keys = cache.keys[index][:, head]
                    keys = keys if cache.windows is None else keys[cache.windows]
                    scores = q[:, head].float() @ keys.float().transpose(1, 2)
                    head_weights[layer, head] = torch.softmax(scores * q.shape[-1] ** -0.5, dim=-1)
            attended = attend_by_window(q, cache.keys[index], cache.values[index], cache.windows)
            x = x + cross.out(_merge_heads(attended))
            h = feed_forward.up.gelu(_normalize(x, feed_forward.norm, feed_forward.up))
            x = x + feed_forward.down(h)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits of the tokens after hidden states, float32, (..., vocabulary)."""
        return self._head(_normalize(x, self._decoder_norm, self._head)).float()

    def _split_heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split (n, length, parts * d_model) into `parts` tensors of shape (n, heads, length, head_dim)."""
        n, length, width = x.shape
        head_dim = width // parts // self._n_heads
        split = x.view(n, length, parts, self._n_heads, head_dim).permute(2, 0, 3, 1, 4)
        return tuple(split)


class PackedState:
    """A KV cache with the PackedWhisper that fills it."""

    def __init__(self, network: PackedWhisper, cache: KVCache) -> None:
        self._network, self._cache = network, cache

    def step(self, tokens: Tensor) -> Tensor:
        """Read tokens, shape (n, k); return the next token's logits, float32, (n, vocabulary)."""
        return self._network.step(tokens, self._cache)

    def align(self, tokens: Tensor, heads: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Read tokens; return cross-attention weights of the heads and the logits after each token."""
        return self._network.align(tokens, self._cache, heads)

    def greedy(self, prompts: Sequence[list[int]], logits: Tensor, search: Search) -> list[Decoded]:
        """Decode all rows greedily; finished rows leave the batch. Does not change this state."""
        prompt = torch.tensor(prompts, device=logits.device)
        if prompts[0][0] == search.special_tokens.start:  # this state has already read it
            state, logits = PackedState(self._network, copy.copy(self._cache)), logits.clone()
            rest = prompt[:, 1:]
        else:
            state, rest = self.without_tokens(), prompt
        if rest.shape[1]:
            logits = state.step(rest)
        return search.run(state, logits, prompt_length=prompt.shape[1])

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Keep or reorder the rows, in place, as DecoderState describes."""
        self._cache.keep(rows, within_windows=within_windows)

    def without_tokens(self, rows: Tensor | None = None) -> PackedState:
        """Return a new state with the same encoder output and no tokens."""
        return PackedState(self._network, self._cache.without_tokens(rows))


def _merge_heads(x: Tensor) -> Tensor:
    """Merge (n, heads, length, head_dim) into (n, length, d_model)."""
    return x.transpose(1, 2).flatten(2)


def _feed_forward(x: Tensor, layer: FeedForward) -> Tensor:
    """Apply a feed-forward block to (n, length, d_model), in chunks if its weights are int8."""
    if layer.up.precision != "int8":
        return layer.down(layer.up.gelu(x))
    chunks = x.split(INT8_CHUNK_ROWS, dim=1)
    return torch.cat([layer.down(layer.up.gelu(chunk)) for chunk in chunks], dim=1)


def _normalize(x: Tensor, norm: Norm, next_layer: Linear) -> Tensor:
    """Apply a layer norm in float32; return the result in the dtype of the next layer."""
    return functional.layer_norm(x, *norm).to(next_layer.dtype)
