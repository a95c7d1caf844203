"""Timestamp tokens become stretches with times, as openai/whisper cuts them."""

from __future__ import annotations

from thoth_watch.infrastructure.whisper.segments import compression_ratio, cut_at_timestamps

BEGIN = 1000


def stretches(*tokens, window_s=30.0):
    found = cut_at_timestamps(tokens, timestamp_begin=BEGIN, step_s=0.02, window_s=window_s)
    return [(round(s.start, 2), round(s.end, 2), s.tokens) for s in found]


def stamp(seconds):
    return BEGIN + round(seconds / 0.02)


def test_pairs_of_timestamps_part_the_text():
    tokens = (stamp(0), 1, 2, stamp(2), stamp(2.5), 3, stamp(4))

    assert stretches(*tokens) == [(0.0, 2.0, tokens[:4]), (2.5, 4.0, tokens[4:])]


def test_a_single_stretch_keeps_its_own_start():
    assert stretches(stamp(0.4), 1, 2, stamp(3)) == [(0.4, 3.0, (stamp(0.4), 1, 2, stamp(3)))]


def test_text_without_timestamps_fills_the_window():
    assert stretches(1, 2, 3, window_s=12.5) == [(0.0, 12.5, (1, 2, 3))]


def test_an_unfinished_last_stretch_is_kept_to_the_end_of_the_window():
    tokens = (stamp(0), 1, stamp(2), stamp(2), 2, 3)

    assert stretches(*tokens, window_s=9.0)[-1] == (2.0, 9.0, (stamp(2), 2, 3))


def test_times_in_the_padding_are_moved_to_the_end_of_the_sound():
    tokens = (stamp(0), 1, stamp(4), stamp(8), 2, stamp(29))

    assert [s[:2] for s in stretches(*tokens, window_s=5.0)] == [(0.0, 4.0), (5.0, 5.0)]


def test_timestamps_alone_are_no_stretch():
    assert stretches(stamp(0)) == []
    assert stretches(stamp(0), stamp(0)) == []
    assert stretches() == []


def test_times_never_run_backwards():
    tokens = (stamp(5), 1, stamp(2), stamp(1), 2, stamp(0.5))

    times = [time for s in stretches(*tokens) for time in s[:2]]

    assert times == sorted(times)


def test_repeated_text_compresses_well():
    assert compression_ratio("one two three four") < 1.5
    assert compression_ratio("four eight " * 40) > 2.4
    assert compression_ratio("") == 0.0
