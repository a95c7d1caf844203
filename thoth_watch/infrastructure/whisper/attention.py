"""Attention in the form that is fastest where it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 500  # queries at a time: their weights stay in the processor's cache


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention of all queries to all keys, shape (n, heads, length, head) each.

    torch's own on a CPU computes bfloat16 at float32's speed (2.4 times slower than the products
    one head at a time, measured at 1500 positions).
    """
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(queries, keys, values)
    n, heads, length, head = queries.shape
    scaled = queries * head**-0.5
    mixed = torch.empty_like(values, memory_format=torch.contiguous_format)
    for row in range(n):
        for h in range(heads):
            transposed, own = keys[row, h].T, values[row, h].contiguous()
            for start in range(0, length, ROWS):
                part = slice(start, start + ROWS)
                weights = torch.softmax(scaled[row, h, part] @ transposed, dim=-1)
                torch.mm(weights, own, out=mixed[row, h, part])
    return mixed


def attend_with_one_query(
    queries: Tensor, keys: Tensor, values: Tensor, *, seen: Tensor | None = None
) -> Tensor:
    """Attention of a few queries, shape (n, heads, k, head), to the same keys; in the queries' format.

    keys, values: (n, heads, length, head), in the format that is computed in. seen: which of them
    all queries see, true there, shape (length,); None: all. Plain products: torch's
    fused attention is up to three times slower for a single query on a CPU, nine times in bfloat16.
    """
    scaled = (queries * queries.shape[-1] ** -0.5).to(keys.dtype)
    scores = scaled @ keys.transpose(2, 3)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    weights = torch.softmax(scores, dim=-1)
    return (weights @ values).to(queries.dtype)


def attend_by_window(
    queries: Tensor, keys: Tensor, values: Tensor, windows: Sequence[int]
) -> Tensor:
    """Attention of rows of queries, (n_rows, heads, k, head), each to its own window's keys.

    keys, values: (n_windows, heads, length, head). windows: a number for each row; those of a window
    that stand side by side share one product, and nobody's keys are copied.
    """
    mixed = torch.empty_like(queries, memory_format=torch.contiguous_format)
    start = 0
    for window, same in groupby(windows):
        rows = slice(start, start := start + len(list(same)))
        several = queries[rows].transpose(0, 1).flatten(1, 2)[None]  # (1, heads, rows * k, head)
        found = attend_with_one_query(several, keys[window][None], values[window][None])
        mixed[rows] = found[0].unflatten(1, (-1, queries.shape[2])).transpose(0, 1)
    return mixed
