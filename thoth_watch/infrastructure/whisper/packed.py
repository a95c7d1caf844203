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
from torch import Tensor, nn
from torch.nn import functional

from thoth_watch.infrastructure.whisper.attention import attend, attend_with_one_query
from thoth_watch.infrastructure.whisper.linears import Linear, build_linear
from thoth_watch.infrastructure.whisper.mapped import MappedFiles

Norm = tuple[tuple[int, ...], Tensor, Tensor, float]
N_ROWS_OF_A_STEP = 8  # windows that are decoded together; only speed depends on it
WINDOWS_AT_ONCE = 2  # of the encoder on a CPU: more would only need more memory


@dataclass(slots=True)
class Attention:
    """One block of self-attention; qkv has the three projections in one."""

    norm: Norm
    qkv: Linear
    out: Linear


@dataclass(slots=True)
class CrossAttention:
    """Attention to the encoder's output, whose keys and values are in the Memory."""

    norm: Norm
    query: Linear
    out: Linear


@dataclass(slots=True)
class FeedForward:
    """Two linear layers with GELU between them."""

    norm: Norm
    up: Linear
    down: Linear


@dataclass(slots=True)
class Memory:
    """What the decoder looks at, for the windows of a batch.

    keys, values: per layer (n, heads, positions, head).
    own: per layer keys and values of the tokens so far, each (n, heads, max_tokens, head).
    """

    keys: list[Tensor]
    values: list[Tensor]
    own: list[tuple[Tensor, Tensor]]
    n_tokens: int = 0

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """See StepMemory."""
        if not within_windows:
            self.keys = [part[rows] for part in self.keys]
            self.values = [part[rows] for part in self.values]
        self.own = [(k[rows], v[rows]) for k, v in self.own]

    def again(self, rows: Tensor | None = None) -> Memory:
        """See StepMemory."""
        keys, values = self.keys, self.values
        if rows is not None:
            keys, values = [part[rows] for part in keys], [part[rows] for part in values]
        shape = (len(keys[0]), *self.own[0][0].shape[1:])
        own = [(k.new_empty(shape), v.new_empty(shape)) for k, v in self.own]
        return Memory(keys, values, own)


class PackedWhisper:
    """A loaded Whisper, its weights taken over from transformers' model, which is empty afterwards."""

    def __init__(self, model: Any, *, encoder: str, decoder: str) -> None:
        """model: WhisperForConditionalGeneration, on the device to compute on.

        encoder, decoder: number formats, see `build_linear`.
        """
        self.config = config = model.config
        self._n_heads: int = config.decoder_attention_heads
        # the head first: converting it takes the most memory
        steps = _Taker(n_rows=N_ROWS_OF_A_STEP, precision=decoder)
        self._head = steps.linear(model.proj_out, keep=True)
        embeddings = model.model.decoder.embed_tokens.weight
        self._embeddings = (
            steps.stored(embeddings) if decoder == "int8" else steps.tensor(embeddings)
        )
        model.proj_out = None
        taken = _Taker(n_rows=WINDOWS_AT_ONCE * config.max_source_positions, precision=encoder)
        source = model.model.encoder
        self._convolutions = [taken.convolution(c) for c in (source.conv1, source.conv2)]
        self._encoder_positions = taken.tensor(source.embed_positions.weight).float()
        self._encoder_layers = [
            (taken.attention(layer), taken.feed_forward(layer)) for layer in source.layers
        ]
        self._encoder_norm = taken.norm(source.layer_norm)
        layers = model.model.decoder.layers
        # in the encoder's format: it is the encoder's output that goes through them
        crossed = [p for la in layers for p in (la.encoder_attn.k_proj, la.encoder_attn.v_proj)]
        self._memory_projections = taken.linear(*crossed)
        source = model.model.decoder
        self._token_positions = steps.tensor(source.embed_positions.weight)
        self._decoder_layers = [
            (steps.attention(layer), steps.cross_attention(layer), steps.feed_forward(layer))
            for layer in source.layers
        ]
        self._decoder_norm = steps.norm(source.layer_norm)
        # int8 layers give float32; what the encoder made in bfloat16 is none the better for it
        self._memory_dtype = (
            self._memory_projections.dtype if decoder == "int8" else self.decoder_dtype
        )

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
        return torch.cat([self._encode(part) for part in features.split(WINDOWS_AT_ONCE)])

    def _encode(self, features: Tensor) -> Tensor:
        x = features.to(self.device, self.encoder_dtype)
        for (weight, bias), stride in zip(self._convolutions, (1, 2), strict=True):
            x = functional.gelu(functional.conv1d(x, weight, bias, stride=stride, padding=1))
        x = x.transpose(1, 2).float() + self._encoder_positions[: x.shape[2]]
        for attention, feed_forward in self._encoder_layers:
            q, k, v = self._split(attention.qkv(_normalise(x, attention.norm, attention.qkv)), 3)
            x = x + attention.out(_join(attend(q, k, v)))
            h = feed_forward.up.gelu(_normalise(x, feed_forward.norm, feed_forward.up))
            x = x + feed_forward.down(h)
        return _normalise(x, self._encoder_norm, self._memory_projections)

    def remember(self, hidden: Tensor, *, max_tokens: int) -> Memory:
        """Keys and values of an encoder's output for all layers, and room for so many tokens."""
        n_layers, head = len(self._decoder_layers), hidden.shape[2] // self._n_heads
        n, positions, _ = hidden.shape
        seen = (n, self._n_heads, positions, head)
        both = [hidden.new_empty(seen, dtype=self._memory_dtype) for _ in range(2 * n_layers)]
        at_once = WINDOWS_AT_ONCE if self.device.type == "cpu" else n
        for start in range(0, n, at_once):
            rows = slice(start, start + at_once)
            made = self._memory_projections(hidden[rows])
            split = made.view(len(made), positions, 2 * n_layers, self._n_heads, head)
            for part, target in enumerate(both):
                target[rows] = split[:, :, part].transpose(1, 2)
        room, dtype = (n, self._n_heads, max_tokens, head), self.decoder_dtype
        own = [
            (hidden.new_empty(room, dtype=dtype), hidden.new_empty(room, dtype=dtype))
            for _ in range(n_layers)
        ]
        return Memory(both[::2], both[1::2], own)

    def step(self, tokens: Tensor, memory: Memory) -> Tensor:
        """Read tokens, shape (n, k); logits of what comes after the last: float32, (n, vocabulary)."""
        x = self._read(tokens, memory)[:, -1]
        return self._head(_normalise(x, self._decoder_norm, self._head)).float()

    def look(
        self, tokens: Tensor, memory: Memory, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Read tokens as `step` does; where heads (layer, head) looked, and what comes after each.

        Returns (n, n_heads, k, positions) and float32 logits (n, k, vocabulary).
        """
        looks: dict[tuple[int, int], Tensor] = dict.fromkeys(heads, tokens)
        x = self._read(tokens, memory, looks)
        logits = self._head(_normalise(x, self._decoder_norm, self._head)).float()
        return torch.stack(list(looks.values()), dim=1), logits

    def _read(
        self, tokens: Tensor, memory: Memory, looks: dict[tuple[int, int], Tensor] | None = None
    ) -> Tensor:
        """What the layers make of tokens, (n, k, d_model). looks: heads whose weights are put there."""
        n_new, before = tokens.shape[1], memory.n_tokens
        after = before + n_new
        x = self._embeddings[tokens].float() + self._token_positions[before:after]
        mask = None
        if n_new > 1:
            seen = torch.ones(n_new, after, dtype=torch.bool, device=x.device)
            mask = seen.tril(diagonal=before)
        for index, (attention, cross, feed_forward) in enumerate(self._decoder_layers):
            q, k, v = self._split(attention.qkv(_normalise(x, attention.norm, attention.qkv)), 3)
            own_keys, own_values = memory.own[index]
            own_keys[:, :, before:after], own_values[:, :, before:after] = k, v
            seen_keys, seen_values = own_keys[:, :, :after], own_values[:, :, :after]
            if mask is None:
                a = attend_with_one_query(q, seen_keys, seen_values)
            else:
                a = functional.scaled_dot_product_attention(
                    q, seen_keys, seen_values, attn_mask=mask
                )
            x = x + attention.out(_join(a))
            (q,) = self._split(cross.query(_normalise(x, cross.norm, cross.query)), 1)
            a = attend_with_one_query(q, memory.keys[index], memory.values[index])
            for layer, head in looks or ():
                if layer == index and looks is not None:
                    scores = q[:, head].float() @ memory.keys[index][:, head].float().transpose(
                        1, 2
                    )
                    looks[layer, head] = torch.softmax(scores * q.shape[-1] ** -0.5, dim=-1)
            x = x + cross.out(_join(a))
            h = feed_forward.up.gelu(_normalise(x, feed_forward.norm, feed_forward.up))
            x = x + feed_forward.down(h)
        memory.n_tokens = after
        return x

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(n, length, parts * width) to `parts` tensors of shape (n, heads, length, head)."""
        n, length, width = x.shape
        head = width // parts // self._n_heads
        split = x.view(n, length, parts, self._n_heads, head).permute(2, 0, 3, 1, 4)
        return tuple(split)


def _join(x: Tensor) -> Tensor:
    """(n, heads, length, head) to (n, length, heads * head)."""
    return x.transpose(1, 2).flatten(2)


def _normalise(x: Tensor, norm: Norm, then: Linear) -> Tensor:
    """A layer norm in float32, in the number format of the layer that comes then."""
    return functional.layer_norm(x, *norm).to(then.dtype)


class _Taker:
    """Takes weights out of transformers' modules, one after the other, so that none is held twice."""

    def __init__(self, *, n_rows: int, precision: str) -> None:
        self._n_rows, self._precision = n_rows, precision
        self._dtype = torch.float32 if precision == "int8" else getattr(torch, precision)
        self._files = MappedFiles()

    def tensor(self, parameter: Tensor) -> Tensor:
        return self.stored(parameter).to(self._dtype)

    def stored(self, parameter: Tensor) -> Tensor:
        """In the checkpoint's own format, in memory of its own."""
        tensor = _free(parameter)
        own = tensor.clone()
        self._files.release(tensor)
        return own

    def norm(self, module: nn.LayerNorm) -> Norm:
        weight, bias = (self.stored(p).float() for p in (module.weight, module.bias))
        return tuple(module.normalized_shape), weight, bias, module.eps

    def convolution(self, module: nn.Conv1d) -> tuple[Tensor, Tensor]:
        weight, bias = (self.tensor(p) for p in module.parameters())
        return weight, bias

    def linear(self, *modules: nn.Linear, keep: bool = False) -> Linear:
        """One layer whose output is that of all modules, side by side."""
        weights = [m.weight.detach() if keep else _free(m.weight) for m in modules]
        bias = None
        if any(m.bias is not None for m in modules):
            bias = torch.cat(
                [w.new_zeros(len(w)) if m.bias is None else _free(m.bias)
                 for m, w in zip(modules, weights, strict=True)]
            )  # fmt: skip
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        linear = build_linear(weight, bias, precision=self._precision, n_rows=self._n_rows)
        for part in weights:
            self._files.release(part)
        return linear

    def attention(self, layer: Any) -> Attention:
        source = layer.self_attn
        return Attention(
            self.norm(layer.self_attn_layer_norm),
            self.linear(source.q_proj, source.k_proj, source.v_proj),
            self.linear(source.out_proj),
        )

    def cross_attention(self, layer: Any) -> CrossAttention:
        source = layer.encoder_attn
        return CrossAttention(
            self.norm(layer.encoder_attn_layer_norm),
            self.linear(source.q_proj),
            self.linear(source.out_proj),
        )

    def feed_forward(self, layer: Any) -> FeedForward:
        return FeedForward(
            self.norm(layer.final_layer_norm), self.linear(layer.fc1), self.linear(layer.fc2)
        )


def _free(parameter: Any) -> Tensor:
    """The parameter's tensor; the module has an empty one from now on."""
    tensor: Tensor = parameter.detach()
    parameter.data = tensor.new_empty(0)
    return tensor
