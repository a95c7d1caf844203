"""Attention for training on a CPU: two products and a softmax for each head.

torch's own kernel keeps the scores in a cache instead of in memory. Forwards that costs nothing,
but backwards it costs twice the time of plain products in bfloat16 (30 s windows, one thread).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _HeadByHead(torch.autograd.Function):
    """softmax(q k^T / sqrt(channels)) v; shapes (heads, n, channels) and (heads, m, channels)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * q.shape[-1] ** -0.5
        shares = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
        mixed = torch.empty_like(q)
        for head in range(len(q)):
            torch.softmax(q[head] @ k[head].t(), dim=-1, out=shares[head])
            torch.mm(shares[head], v[head], out=mixed[head])
        ctx.save_for_backward(q, k, v, shares)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, shares = ctx.saved_tensors
        outer = gradients[0].contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for head in range(len(q)):
            torch.mm(shares[head].t(), outer[head], out=dv[head])
            inner = outer[head] @ v[head].t()
            scores = torch._softmax_backward_data(inner, shares[head], -1, inner.dtype)  # noqa: SLF001
            torch.mm(scores, k[head], out=dq[head])
            torch.mm(scores.t(), q[head], out=dk[head])
        return dq * q.shape[-1] ** -0.5, dk, dv


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """Scaled dot product attention; shapes (batch, heads, n or m, channels)."""
    if causal or q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    mixed: Tensor = _HeadByHead.apply(*(x.flatten(0, 1) for x in (q, k, v)))
    return mixed.view(q.shape)
