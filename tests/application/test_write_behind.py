"""What is handed over is written by another thread, together where it comes together."""

from __future__ import annotations

import threading

import pytest

from thoth_watch.application.write_behind import QUEUE_SIZE, WriteBehind
from thoth_watch.domain.errors import RetryLater


def test_all_is_written_in_order_and_nothing_is_left_at_the_end():
    written: list[int] = []
    with WriteBehind[int](written.extend) as behind:
        for number in range(3 * QUEUE_SIZE):
            behind.put(number)

    assert written == list(range(3 * QUEUE_SIZE))


def test_what_came_during_a_write_is_written_together():
    groups: list[list[int]] = []
    is_at_it, may_go_on = threading.Event(), threading.Event()

    def write(some: list[int]) -> None:
        groups.append(some)
        is_at_it.set()
        may_go_on.wait(20)

    with WriteBehind[int](write) as behind:
        behind.put(1)
        is_at_it.wait(20)
        for number in (2, 3, 4):
            behind.put(number)
        may_go_on.set()

    assert groups == [[1], [2, 3, 4]]


def test_a_writer_that_fails_is_told_to_whoever_hands_over_and_writes_no_more():
    calls: list[list[int]] = []

    def write(some: list[int]) -> None:
        calls.append(some)
        raise RetryLater("the disk is full")

    def hand_over() -> None:
        with WriteBehind[int](write) as behind:
            for number in range(10 * QUEUE_SIZE):
                behind.put(number)

    with pytest.raises(RetryLater, match="full"):
        hand_over()
    assert len(calls) == 1


def test_one_that_writes_at_once_has_written_when_it_returns() -> None:
    written: list[int] = []
    with WriteBehind[int](written.extend, is_synchronous=True) as behind:
        for number in range(3):
            behind.put(number)
            assert written == list(range(number + 1))
