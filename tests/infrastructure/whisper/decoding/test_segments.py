"""Tests of cutting tokens into segments at timestamps, as openai/whisper does."""

from __future__ import annotations

from thoth_watch.infrastructure.whisper.decoding.segments import (
    compression_ratio,
    cut_at_timestamps,
)

BEGIN = 1000


def cut_segments(*tokens, window_s=30.0):
    found = cut_at_timestamps(tokens, timestamp_begin=BEGIN, step_s=0.02, window_s=window_s)
    return [(round(s.start, 2), round(s.end, 2), s.tokens) for s in found]


def timestamp(seconds):
    return BEGIN + round(seconds / 0.02)


def test_pairs_of_timestamps_separate_segments():
    tokens = (timestamp(0), 1, 2, timestamp(2), timestamp(2.5), 3, timestamp(4))

    assert cut_segments(*tokens) == [(0.0, 2.0, tokens[:4]), (2.5, 4.0, tokens[4:])]


def test_a_single_segment_keeps_its_own_start():
    assert cut_segments(timestamp(0.4), 1, 2, timestamp(3)) == [
        (0.4, 3.0, (timestamp(0.4), 1, 2, timestamp(3)))
    ]


def test_text_without_timestamps_fills_the_window():
    assert cut_segments(1, 2, 3, window_s=12.5) == [(0.0, 12.5, (1, 2, 3))]


def test_an_unfinished_last_segment_is_extended_to_the_end_of_the_window():
    tokens = (timestamp(0), 1, timestamp(2), timestamp(2), 2, 3)

    assert cut_segments(*tokens, window_s=9.0)[-1] == (2.0, 9.0, (timestamp(2), 2, 3))


def test_times_in_the_padding_are_moved_to_the_end_of_the_audio():
    tokens = (timestamp(0), 1, timestamp(4), timestamp(8), 2, timestamp(29))

    assert [s[:2] for s in cut_segments(*tokens, window_s=5.0)] == [(0.0, 4.0), (5.0, 5.0)]


def test_timestamps_without_text_are_no_segment():
    assert cut_segments(timestamp(0)) == []
    assert cut_segments(timestamp(0), timestamp(0)) == []
    assert cut_segments() == []


def test_times_never_run_backwards():
    tokens = (timestamp(5), 1, timestamp(2), timestamp(1), 2, timestamp(0.5))

    times = [time for s in cut_segments(*tokens) for time in s[:2]]

    assert times == sorted(times)


def test_repeated_text_compresses_well():
    assert compression_ratio("one two three four") < 1.5
    assert compression_ratio("four eight " * 40) > 2.4
    assert compression_ratio("") == 0.0
