from __future__ import annotations

import torch
from torch.nn import functional

from training.attention import attend


def test_attention_by_head_has_the_values_and_gradients_of_torch() -> None:
    torch.manual_seed(0)
    queries, keys, values = (torch.randn(2, 3, n, 64, requires_grad=True) for n in (70, 90, 90))
    halves = [x.detach().bfloat16().requires_grad_() for x in (queries, keys, values)]
    expected = functional.scaled_dot_product_attention(queries, keys, values)
    outer = torch.randn_like(expected)

    found = attend(*halves)
    found.backward(outer.bfloat16())

    expected.backward(outer)
    assert (found.float() - expected).abs().max() < 0.02
    for half, whole in zip(halves, (queries, keys, values), strict=True):
        assert (half.grad.float() - whole.grad).abs().max() < 0.02 * whole.grad.abs().max()
