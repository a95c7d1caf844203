"""Attention for training on a CPU: two products and a softmax for each head.

torch's own kernel does not keep the scores in memory. Its forward pass is as fast, but its backward
pass takes twice the time of plain products in bfloat16 (30 s windows, one thread).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _AttentionByHead(torch.autograd.Function):
    """Compute softmax(q k^T / sqrt(channels)) v; shapes (heads, n, channels) and (heads, m, channels)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * q.shape[-1] ** -0.5
        weights = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
        mixed = torch.empty_like(q)
        for head in range(len(q)):
            torch.softmax(q[head] @ k[head].t(), dim=-1, out=weights[head])
            torch.mm(weights[head], v[head], out=mixed[head])
        ctx.save_for_backward(q, k, v, weights)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, weights = ctx.saved_tensors
        outer = gradients[0].contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for head in range(len(q)):
            torch.mm(weights[head].t(), outer[head], out=dv[head])
            inner = outer[head] @ v[head].t()
            scores = torch._softmax_backward_data(inner, weights[head], -1, inner.dtype)  # noqa: SLF001
            torch.mm(scores, k[head], out=dq[head])
            torch.mm(scores.t(), q[head], out=dk[head])
        return dq * q.shape[-1] ** -0.5, dk, dv


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """Compute scaled dot product attention; shapes (batch, heads, n or m, channels)."""
    if causal or q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    mixed: Tensor = _AttentionByHead.apply(*(x.flatten(0, 1) for x in (q, k, v)))
    return mixed.view(q.shape)
