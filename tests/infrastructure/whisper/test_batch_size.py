"""How many windows share a forward pass when memory is short."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import WhisperConfig

from thoth_watch.infrastructure.whisper.batch_size import BatchSize, automatic_batch_size


def until_it_settles(size: BatchSize, *, capacity: int, passes: int = 1000) -> list[int]:
    """The sizes that were tried on a device with room for so many windows, without repetitions."""
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
def test_halved_where_memory_runs_out_and_raised_to_what_fits(capacity: int):
    size = BatchSize(64)

    tried = until_it_settles(size, capacity=capacity)

    assert size.current == min(capacity, 64)
    assert tried[0] == 64
    failed = [n for n in tried if n > capacity]
    assert len(failed) == len(set(failed))  # nothing that failed is tried again
    assert size.current <= 64


def test_a_part_of_a_pass_proves_nothing():
    size = BatchSize(8)
    size.record_failure(8)

    for _ in range(1000):
        size.record_success(3)

    assert size.current == 4


def test_where_there_is_less_memory_than_before_it_goes_on_down():
    size = BatchSize(16)
    until_it_settles(size, capacity=12)

    until_it_settles(size, capacity=3, passes=4)

    assert size.current <= 3


def test_another_engine_of_the_same_model_and_device_begins_with_what_was_learnt():
    key = ("sha256:12", "a card that only this test has")
    until_it_settles(BatchSize(64, shared_key=key), capacity=20)

    next_one = BatchSize(64, shared_key=key)

    assert next_one.current <= 20
    assert 21 not in until_it_settles(next_one, capacity=20)
    assert BatchSize(64, shared_key=("sha256:12", "another")).current == 64
    assert BatchSize(8, shared_key=key).current == 8


def whisper(layers: int, width: int) -> WhisperConfig:
    return WhisperConfig(decoder_layers=layers, d_model=width)


@pytest.mark.parametrize(
    ("layers", "width", "n_weights", "together"),
    [
        pytest.param(4, 384, 38_000_000, 8, id="tiny"),
        pytest.param(6, 512, 73_000_000, 8, id="base"),
        pytest.param(12, 768, 242_000_000, 5, id="small"),
        pytest.param(24, 1024, 764_000_000, 6, id="medium"),
        pytest.param(32, 1280, 1_543_000_000, 8, id="large-v3"),
        pytest.param(4, 1280, 809_000_000, 8, id="large-v3-turbo"),
    ],
)
def test_on_a_cpu_the_keys_of_a_forward_pass_are_few_beside_the_weights(
    layers: int, width: int, n_weights: int, together: int
):
    shape = whisper(layers, width)

    found = automatic_batch_size(
        shape, n_weights=n_weights, dtype=torch.bfloat16, device=torch.device("cpu")
    )

    assert found == together


@pytest.mark.parametrize(
    ("layers", "gigabytes", "together"),
    [(32, 8, 8), (32, 24, 24), (32, 80, 32), (4, 8, 32), (32, 0.5, 1)],
)
def test_on_a_gpu_they_take_a_quarter_of_its_memory_at_most(
    monkeypatch: pytest.MonkeyPatch, layers: int, gigabytes: float, together: int
):
    card = SimpleNamespace(total_memory=int(gigabytes * 1e9))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)

    found = automatic_batch_size(
        whisper(layers, 1280), n_weights=1, dtype=torch.float16, device=torch.device("cuda:0")
    )

    assert found == together
