"""Tests of the batch size: windows per forward pass, also when memory is short."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import WhisperConfig

from thoth_watch.infrastructure.whisper.batch_size import BatchSize, automatic_batch_size


def sizes_until_stable(size: BatchSize, *, capacity: int, passes: int = 1000) -> list[int]:
    """Return the sizes tried on a device with memory for `capacity` windows, repetitions collapsed."""
    tried = [size.current]
    for _ in range(passes):
        if size.current > capacity:
            size.record_failure(size.current)
        else:
            size.record_success(size.current)
        if size.current != tried[-1]:
            tried.append(size.current)
    return tried


@pytest.mark.parametrize("capacity", [1, 2, 5, 11, 30, 31, 64])
def test_the_size_is_halved_when_memory_runs_out_and_raised_to_what_fits(capacity: int):
    size = BatchSize(64)

    tried = sizes_until_stable(size, capacity=capacity)

    assert size.current == min(capacity, 64)
    assert tried[0] == 64
    failed = [n for n in tried if n > capacity]
    assert len(failed) == len(set(failed))  # a size that failed is not tried again
    assert size.current <= 64


def test_a_partial_batch_does_not_raise_the_size():
    size = BatchSize(8)
    size.record_failure(8)

    for _ in range(1000):
        size.record_success(3)

    assert size.current == 4


def test_the_size_shrinks_further_when_less_memory_is_left():
    size = BatchSize(16)
    sizes_until_stable(size, capacity=12)

    sizes_until_stable(size, capacity=3, passes=4)

    assert size.current <= 3


def test_an_engine_with_the_same_model_and_device_starts_with_the_known_limit():
    key = ("sha256:12", "a GPU used by this test only")
    sizes_until_stable(BatchSize(64, shared_key=key), capacity=20)

    second = BatchSize(64, shared_key=key)

    assert second.current <= 20
    assert 21 not in sizes_until_stable(second, capacity=20)
    assert BatchSize(64, shared_key=("sha256:12", "another")).current == 64
    assert BatchSize(8, shared_key=key).current == 8


def whisper(layers: int, width: int) -> WhisperConfig:
    return WhisperConfig(decoder_layers=layers, d_model=width)


@pytest.mark.parametrize(
    ("layers", "width", "n_weights", "expected"),
    [
        pytest.param(4, 384, 38_000_000, 8, id="tiny"),
        pytest.param(6, 512, 73_000_000, 8, id="base"),
        pytest.param(12, 768, 242_000_000, 5, id="small"),
        pytest.param(24, 1024, 764_000_000, 6, id="medium"),
        pytest.param(32, 1280, 1_543_000_000, 8, id="large-v3"),
        pytest.param(4, 1280, 809_000_000, 8, id="large-v3-turbo"),
    ],
)
def test_on_a_cpu_keys_and_values_are_small_compared_to_the_weights(
    layers: int, width: int, n_weights: int, expected: int
):
    shape = whisper(layers, width)

    found = automatic_batch_size(
        shape, n_weights=n_weights, dtype=torch.bfloat16, device=torch.device("cpu")
    )

    assert found == expected


@pytest.mark.parametrize(
    ("layers", "gigabytes", "expected"),
    [(32, 8, 8), (32, 24, 24), (32, 80, 32), (4, 8, 32), (32, 0.5, 1)],
)
def test_on_a_gpu_keys_and_values_take_at_most_a_quarter_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, layers: int, gigabytes: float, expected: int
):
    properties = SimpleNamespace(total_memory=int(gigabytes * 1e9))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)

    found = automatic_batch_size(
        whisper(layers, 1280), n_weights=1, dtype=torch.float16, device=torch.device("cuda:0")
    )

    assert found == expected
