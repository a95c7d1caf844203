"""Queued items are written by another thread, those that queue up together in one write."""

from __future__ import annotations

import threading

import pytest

from thoth_watch.application.write_behind import QUEUE_SIZE, WriteBehind
from thoth_watch.domain.errors import RetryLater


def test_all_items_are_written_in_order_before_the_block_ends():
    written: list[int] = []
    with WriteBehind[int](written.extend) as write_behind:
        for number in range(3 * QUEUE_SIZE):
            write_behind.put(number)

    assert written == list(range(3 * QUEUE_SIZE))


def test_items_queued_during_a_write_are_written_together():
    groups: list[list[int]] = []
    has_started, may_continue = threading.Event(), threading.Event()

    def write(items: list[int]) -> None:
        groups.append(items)
        has_started.set()
        may_continue.wait(20)

    with WriteBehind[int](write) as write_behind:
        write_behind.put(1)
        has_started.wait(20)
        for number in (2, 3, 4):
            write_behind.put(number)
        may_continue.set()

    assert groups == [[1], [2, 3, 4]]


def test_an_error_of_the_writer_is_raised_by_put_and_ends_the_writing():
    calls: list[list[int]] = []

    def write(items: list[int]) -> None:
        calls.append(items)
        raise RetryLater("the disk is full")

    def put_many() -> None:
        with WriteBehind[int](write) as write_behind:
            for number in range(10 * QUEUE_SIZE):
                write_behind.put(number)

    with pytest.raises(RetryLater, match="full"):
        put_many()
    assert len(calls) == 1


def test_a_synchronous_put_returns_after_the_write() -> None:
    written: list[int] = []
    with WriteBehind[int](written.extend, is_synchronous=True) as write_behind:
        for number in range(3):
            write_behind.put(number)
            assert written == list(range(number + 1))
