"""How many windows share a forward pass when memory is short."""

from __future__ import annotations

import pytest

from thoth_watch.infrastructure.whisper.batch_size import BatchSize


def until_it_settles(size: BatchSize, *, room: int, passes: int = 1000) -> list[int]:
    """The sizes that were tried on a device with room for so many windows, without repetitions."""
    tried = [size.now]
    for _ in range(passes):
        if size.now > room:
            size.failed(size.now)
        else:
            size.went_well(size.now)
        if size.now != tried[-1]:
            tried.append(size.now)
    return tried


@pytest.mark.parametrize("room", [1, 2, 5, 11, 30, 31, 64])
def test_halved_where_memory_runs_out_and_raised_to_what_fits(room: int):
    size = BatchSize(64)

    tried = until_it_settles(size, room=room)

    assert size.now == min(room, 64)
    assert tried[0] == 64
    failed = [n for n in tried if n > room]
    assert len(failed) == len(set(failed))  # nothing that failed is tried again
    assert size.now <= 64


def test_a_part_of_a_pass_proves_nothing():
    size = BatchSize(8)
    size.failed(8)

    for _ in range(1000):
        size.went_well(3)

    assert size.now == 4


def test_where_there_is_less_memory_than_before_it_goes_on_down():
    size = BatchSize(16)
    until_it_settles(size, room=12)

    until_it_settles(size, room=3, passes=4)

    assert size.now <= 3


def test_another_engine_of_the_same_model_and_device_begins_with_what_was_learnt():
    key = ("sha256:12", "a card that only this test has")
    until_it_settles(BatchSize(64, remembered_as=key), room=20)

    next_one = BatchSize(64, remembered_as=key)

    assert next_one.now <= 20
    assert 21 not in until_it_settles(next_one, room=20)
    assert BatchSize(64, remembered_as=("sha256:12", "another")).now == 64
    assert BatchSize(8, remembered_as=key).now == 8
