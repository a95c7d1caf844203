"""A file settles when scans find it unchanged for long enough."""

from __future__ import annotations

from tests.fakes import make_file
from thoth_watch.domain.settling import SettleTracker


def test_a_file_is_settled_after_two_equal_scans_that_are_far_enough_apart():
    tracker = SettleTracker(2.0)
    file = make_file("a.wav")

    assert tracker.update([file], now_s=0.0) == []
    assert tracker.update([file], now_s=1.9) == []
    assert tracker.update([file], now_s=2.0) == [file]


def test_a_growing_file_is_left_alone():
    tracker = SettleTracker(2.0)

    for second in range(10):
        assert tracker.update([make_file("a.wav", size=second + 1)], now_s=float(second)) == []


def test_a_preallocated_file_whose_times_change_is_left_alone():
    tracker = SettleTracker(2.0)

    for second in range(10):
        assert tracker.update([make_file("a.wav", modified_ns=second)], now_s=float(second)) == []


def test_one_scan_is_never_enough_even_without_a_settle_time():
    tracker = SettleTracker(0.0)
    file = make_file("a.wav")

    assert tracker.update([file], now_s=0.0) == []
    assert tracker.update([file], now_s=0.0) == [file]


def test_an_empty_file_never_settles():
    tracker = SettleTracker(1.0)
    file = make_file("a.wav", size=0)

    assert tracker.update([file], now_s=0.0) == []
    assert tracker.update([file], now_s=100.0) == []
    assert tracker.next_s() is None  # no further scan is needed


def test_a_file_that_disappeared_restarts_its_settle_time_when_it_returns():
    tracker = SettleTracker(2.0)
    file = make_file("a.wav")
    tracker.update([file], now_s=0.0)
    tracker.update([], now_s=1.0)

    assert tracker.update([file], now_s=2.0) == []
    assert tracker.update([file], now_s=4.0) == [file]


def test_the_next_scan_is_due_when_the_first_file_may_settle():
    tracker = SettleTracker(2.0)

    assert tracker.next_s() is None
    tracker.update([make_file("a.wav")], now_s=10.0)
    assert tracker.next_s() == 12.0
