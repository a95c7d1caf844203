"""Pack weights: convert transformers' modules to layers with fused and packed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thoth_watch.infrastructure.whisper.network.linear_layers import Linear, build_linear
from thoth_watch.infrastructure.whisper.network.memory import MappedFiles, trim_heap

Norm = tuple[tuple[int, ...], Tensor, Tensor, float]


@dataclass(slots=True)
class Attention:
    """A self-attention block; `qkv` fuses the query, key and value projections."""

    norm: Norm
    qkv: Linear
    out: Linear


@dataclass(slots=True)
class CrossAttention:
    """A cross-attention block without key and value projections, whose results are in the KV cache."""

    norm: Norm
    query: Linear
    out: Linear


@dataclass(slots=True)
class FeedForward:
    """A feed-forward block: two linear layers with GELU in between."""

    norm: Norm
    up: Linear
    down: Linear


class WeightPacker:
    """Moves weights out of transformers' modules one layer at a time, so that none is in memory twice."""

    def __init__(self, *, n_rows: int, precision: str) -> None:
        self._n_rows, self._precision = n_rows, precision
        self._dtype = torch.float32 if precision == "int8" else getattr(torch, precision)
        self._files = MappedFiles()

    def tensor(self, parameter: Tensor) -> Tensor:
        """Return a parameter in the requested dtype; float32 if the precision is int8."""
        return self.copy_tensor(parameter).to(self._dtype)

    def copy_tensor(self, parameter: Tensor) -> Tensor:
        """Return a copy of a parameter in the checkpoint's dtype, outside the mapped file."""
        tensor = _detach(parameter)
        copy = tensor.clone()
        self._files.release(tensor)
        return copy

    def norm(self, module: nn.LayerNorm) -> Norm:
        """Return a layer norm's shape, weight, bias and epsilon, in float32."""
        weight, bias = (self.copy_tensor(p).float() for p in (module.weight, module.bias))
        return tuple(module.normalized_shape), weight, bias, module.eps

    def convolution(self, module: nn.Conv1d) -> tuple[Tensor, Tensor]:
        """Return a convolution's weight and bias."""
        weight, bias = (self.tensor(p) for p in module.parameters())
        return weight, bias

    def linear(self, *modules: nn.Linear, keep: bool = False) -> Linear:
        """Return one packed layer that concatenates the outputs of all modules.

        keep: leave the weights in their modules, e.g. because another module shares them.
        """
        weights = [m.weight.detach() if keep else _detach(m.weight) for m in modules]
        bias = None
        if any(m.bias is not None for m in modules):
            bias = torch.cat(
                [w.new_zeros(len(w)) if m.bias is None else _detach(m.bias)
                 for m, w in zip(modules, weights, strict=True)]
            )  # fmt: skip
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        linear = build_linear(weight, bias, precision=self._precision, n_rows=self._n_rows)
        for part in weights:
            self._files.release(part)
        return linear

    def attention(self, layer: Any) -> Attention:
        """Return a layer's self-attention with packed weights."""
        source = layer.self_attn
        return Attention(
            self.norm(layer.self_attn_layer_norm),
            self.linear(source.q_proj, source.k_proj, source.v_proj),
            self.linear(source.out_proj),
        )

    def cross_attention(self, layer: Any) -> CrossAttention:
        """Return a decoder layer's cross-attention with packed weights."""
        source = layer.encoder_attn
        return CrossAttention(
            self.norm(layer.encoder_attn_layer_norm),
            self.linear(source.q_proj),
            self.linear(source.out_proj),
        )

    def feed_forward(self, layer: Any) -> FeedForward:
        """Return a layer's feed-forward block with packed weights.

        It is a layer's last block, so the memory that its conversion needed is then released.
        """
        feed_forward = FeedForward(
            self.norm(layer.final_layer_norm), self.linear(layer.fc1), self.linear(layer.fc2)
        )
        trim_heap()
        return feed_forward


def _detach(parameter: Any) -> Tensor:
    """Return the parameter's tensor and leave an empty one in its module."""
    tensor: Tensor = parameter.detach()
    parameter.data = tensor.new_empty(0)
    return tensor
