"""Attention kernels, each in the form that is fastest for its device and its number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 500  # queries per block, so that their attention weights fit into the processor's cache


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Compute scaled dot-product attention of all queries to all keys.

    queries, keys, values and result: (n, heads, length, head_dim). In bfloat16 on a CPU, torch's
    fused attention is only as fast as in float32: 2.4 times slower than one product per head, as
    here (measured at 1500 positions).
    """
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(queries, keys, values)
    n, heads, length, head_dim = queries.shape
    scaled = queries * head_dim**-0.5
    output = torch.empty_like(values, memory_format=torch.contiguous_format)
    for row in range(n):
        for head in range(heads):
            head_keys, head_values = keys[row, head].T, values[row, head].contiguous()
            for start in range(0, length, ROWS):
                block = slice(start, start + ROWS)
                weights = torch.softmax(scaled[row, head, block] @ head_keys, dim=-1)
                torch.mm(weights, head_values, out=output[row, head, block])
    return output


def attend_with_one_query(
    queries: Tensor, keys: Tensor, values: Tensor, *, seen: Tensor | None = None
) -> Tensor:
    """Compute attention of a few queries that all see the same keys.

    queries: (n, heads, k, head_dim). keys, values: (n, heads, length, head_dim); their dtype is the one
    that is computed in. seen: attention mask, shape (length,), true for keys that the queries see; None: all.
    Returns (n, heads, k, head_dim) in the queries' dtype. Uses plain matrix products because torch's fused
    attention is up to three times slower for a single query on a CPU, nine times in bfloat16.
    """
    scaled = (queries * queries.shape[-1] ** -0.5).to(keys.dtype)
    scores = scaled @ keys.transpose(2, 3)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    weights = torch.softmax(scores, dim=-1)
    return (weights @ values).to(queries.dtype)


def attend_by_window(
    queries: Tensor, keys: Tensor, values: Tensor, windows: Sequence[int] | None
) -> Tensor:
    """Compute attention of each row of queries to the keys of its own window.

    queries and result: (n_rows, heads, k, head_dim). keys, values: (n_windows, heads, length, head_dim).
    windows: the window index of each row; None: row i belongs to window i. Adjacent rows of the same
    window share one product, and no keys are copied.
    """
    if windows is None:
        return attend_with_one_query(queries, keys, values)
    output = torch.empty_like(queries, memory_format=torch.contiguous_format)
    start = 0
    for window, group in groupby(windows):
        rows = slice(start, start := start + len(list(group)))
        merged = queries[rows].transpose(0, 1).flatten(1, 2)[None]  # (1, heads, rows * k, head_dim)
        attended = attend_with_one_query(merged, keys[window][None], values[window][None])
        output[rows] = attended[0].unflatten(1, (-1, queries.shape[2])).transpose(0, 1)
    return output
