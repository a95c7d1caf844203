"""Layers of fused and packed weights, and how they are taken out of transformers' modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thoth_watch.infrastructure.whisper.linear_layers import Linear, build_linear
from thoth_watch.infrastructure.whisper.mapped_files import MappedFiles, trim_heap

Norm = tuple[tuple[int, ...], Tensor, Tensor, float]


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


class WeightPacker:
    """Takes weights out of transformers' modules, one after the other, so that none is held twice."""

    def __init__(self, *, n_rows: int, precision: str) -> None:
        self._n_rows, self._precision = n_rows, precision
        self._dtype = torch.float32 if precision == "int8" else getattr(torch, precision)
        self._files = MappedFiles()

    def tensor(self, parameter: Tensor) -> Tensor:
        """In the format asked for, or float32 between int8 layers."""
        return self.copy_tensor(parameter).to(self._dtype)

    def copy_tensor(self, parameter: Tensor) -> Tensor:
        """In the checkpoint's own format, in memory of its own."""
        tensor = _detach(parameter)
        own = tensor.clone()
        self._files.release(tensor)
        return own

    def norm(self, module: nn.LayerNorm) -> Norm:
        """A layer norm, in float32."""
        weight, bias = (self.copy_tensor(p).float() for p in (module.weight, module.bias))
        return tuple(module.normalized_shape), weight, bias, module.eps

    def convolution(self, module: nn.Conv1d) -> tuple[Tensor, Tensor]:
        """Its weight and bias."""
        weight, bias = (self.tensor(p) for p in module.parameters())
        return weight, bias

    def linear(self, *modules: nn.Linear, keep: bool = False) -> Linear:
        """One layer whose output is that of all modules, side by side."""
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
        """A layer's attention to itself."""
        source = layer.self_attn
        return Attention(
            self.norm(layer.self_attn_layer_norm),
            self.linear(source.q_proj, source.k_proj, source.v_proj),
            self.linear(source.out_proj),
        )

    def cross_attention(self, layer: Any) -> CrossAttention:
        """A decoder layer's attention to the encoder's output."""
        source = layer.encoder_attn
        return CrossAttention(
            self.norm(layer.encoder_attn_layer_norm),
            self.linear(source.q_proj),
            self.linear(source.out_proj),
        )

    def feed_forward(self, layer: Any) -> FeedForward:
        """A layer's last part; what converting the layer took is given back."""
        taken = FeedForward(
            self.norm(layer.final_layer_norm), self.linear(layer.fc1), self.linear(layer.fc2)
        )
        trim_heap()
        return taken


def _detach(parameter: Any) -> Tensor:
    """The parameter's tensor; the module has an empty one from now on."""
    tensor: Tensor = parameter.detach()
    parameter.data = tensor.new_empty(0)
    return tensor
