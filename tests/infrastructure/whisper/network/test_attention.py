"""Tests of decoder attention: rows of one window share its keys, which are stored once."""

from __future__ import annotations

import pytest
import torch

from thoth_watch.infrastructure.whisper.network.attention import (
    attend_by_window,
    attend_with_one_query,
)
from thoth_watch.infrastructure.whisper.network.kv_cache import KVCache

HEADS, POSITIONS, WIDTH = 3, 50, 8


def keys_of(n_windows: int) -> torch.Tensor:
    seeded = torch.Generator().manual_seed(n_windows)
    return torch.randn(n_windows, HEADS, POSITIONS, WIDTH, generator=seeded)


def make_cache(n_windows: int) -> KVCache:
    self_attention = torch.zeros(n_windows, HEADS, 4, WIDTH)
    return KVCache(
        [keys_of(n_windows)], [keys_of(n_windows) * 2], [(self_attention, self_attention.clone())]
    )


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("windows", [[0, 1, 2, 3], [1, 3], [2], [0, 0, 0, 2, 2, 3], [3, 0, 3]])
def test_each_row_attends_to_its_own_window(windows: list[int], k: int):
    keys, values = keys_of(4), keys_of(4) * 2
    queries = torch.randn(len(windows), HEADS, k, WIDTH, generator=torch.Generator().manual_seed(1))

    found = attend_by_window(queries, keys, values, windows)

    torch.testing.assert_close(
        found, attend_with_one_query(queries, keys[windows], values[windows])
    )


def test_samples_of_a_window_share_its_keys_after_rows_are_dropped():
    cache = make_cache(3)

    samples = cache.without_tokens(torch.tensor([1, 1, 1, 2, 2, 2]))
    samples.keep(torch.tensor([0, 2, 5]))

    assert samples.windows == [1, 1, 2]
    assert [len(part) for part in samples.self_attention[0]] == [3, 3]
    assert samples.keys[0] is cache.keys[0]
    assert samples.values[0] is cache.values[0]
    assert cache.windows is None


def test_all_windows_in_order_need_no_window_list():
    cache = make_cache(3)

    assert cache.without_tokens().windows is None
    assert cache.without_tokens(torch.tensor([0, 1, 2])).windows is None
    assert cache.without_tokens(torch.tensor([1, 2])).without_tokens(torch.tensor([1])).windows == [
        2
    ]
