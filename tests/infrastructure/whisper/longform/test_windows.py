"""Tests of cutting a recording into windows: they cover it exactly and end in pauses."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoth_watch.infrastructure.whisper.longform.windows import (
    LONGEST_PAUSE_S,
    PAD_S,
    SEARCH_S,
    cut_windows,
    split_at_long_pauses,
)

RATE = 16_000
FULL = 30 * RATE


def test_a_recording_of_75_seconds_gets_windows_that_cover_it_exactly(bursts):
    samples = bursts(75)

    windows = list(cut_windows(samples, window_samples=FULL))

    assert np.array_equal(np.concatenate([w.samples for w in windows]), samples)
    assert [w.start for w in windows] == [0, *np.cumsum([len(w.samples) for w in windows])[:-1]]
    assert all(0 < len(w.samples) <= FULL for w in windows)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 20_000), st.integers(1, 9_000), st.integers(0, 9))
def test_no_sample_is_lost_or_duplicated(n_samples, window_samples, seed):
    samples = np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)

    windows = list(cut_windows(samples, window_samples=window_samples))

    joined = np.concatenate([w.samples for w in windows]) if windows else samples[:0]
    assert np.array_equal(joined, samples)
    assert all(0 < len(w.samples) <= window_samples for w in windows)


def test_the_cut_is_in_the_middle_of_a_pause():
    samples = np.random.default_rng(0).standard_normal(40 * RATE).astype(np.float32)
    samples[25 * RATE : 26 * RATE] *= 0.001

    first, second = cut_windows(samples, window_samples=FULL)

    assert 25.1 <= second.offset_s <= 25.9
    assert first.duration_s == second.offset_s


def test_digital_silence_gives_windows_of_the_maximum_length():
    windows = list(cut_windows(np.zeros(65 * RATE, np.float32), window_samples=FULL))

    assert [round(w.duration_s, 1) for w in windows] == [29.9, 29.9, 5.2]


def test_a_pause_before_the_search_range_is_not_used():
    samples = np.ones(40 * RATE, np.float32)
    samples[10 * RATE : 12 * RATE] = 0

    first, _ = cut_windows(samples, window_samples=FULL)

    assert first.duration_s >= 30 - SEARCH_S


@pytest.mark.parametrize("n_samples", [1, 100, RATE // 20, FULL])
def test_a_short_recording_is_one_window(n_samples):
    (window,) = cut_windows(np.ones(n_samples, np.float32), window_samples=FULL)

    assert len(window.samples) == n_samples


def test_a_recording_without_samples_has_no_windows():
    assert list(cut_windows(np.zeros(0, np.float32), window_samples=FULL)) == []


def test_a_memory_map_of_ten_hours_is_cut_without_reading_all_of_it(tmp_path):
    file = tmp_path / "long.f32"
    with file.open("wb") as sparse:
        sparse.truncate(10 * 3600 * RATE * 4)
    samples = np.memmap(file, dtype=np.float32, mode="r")

    windows = cut_windows(samples, window_samples=FULL)

    for window in islice(windows, 3):
        assert np.shares_memory(window.samples, samples)
        assert len(window.samples) <= FULL


def speech_mask(speech, total):
    """Return a mask of the samples that windows must cover: speech with padding on both sides."""
    mask = np.zeros(total, bool)
    for start, end in speech:
        mask[max(0, int((start - PAD_S) * RATE)) : int((end + PAD_S) * RATE)] = True
    return mask


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.1, 90.0)), max_size=12),
    st.floats(30.1, 200.0),
)
def test_windows_cover_all_speech_once_and_start_and_end_at_speech(gaps_and_lengths, total_s):
    speech, now = [], 0.0
    for gap, length in gaps_and_lengths:
        now += gap + 0.3
        if now + length > total_s:
            break
        speech.append((now, now + length))
        now += length
    total = int(total_s * RATE)
    samples = np.zeros(total, np.float32)

    windows = list(cut_windows(samples, window_samples=FULL, speech=tuple(speech)))

    n_covering = np.zeros(total, int)
    for window in windows:
        n_covering[window.start : window.stop] += 1
        assert 0 < len(window.samples) <= FULL
    is_speech = speech_mask(speech, total)
    assert n_covering.max(initial=0) <= 1
    assert n_covering[is_speech].all()
    for window in windows:
        assert is_speech[window.start] or is_speech[window.start + 1]
        assert is_speech[window.stop - 2]
    for window in windows:  # no window contains a long pause
        silent = np.flatnonzero(np.diff(np.r_[0, ~is_speech[window.start : window.stop], 0]))
        assert all(np.diff(silent)[::2] <= LONGEST_PAUSE_S * RATE)
    n_parts = len(split_at_long_pauses(tuple(speech)))
    assert len(windows) <= total / (FULL - SEARCH_S * RATE) + max(1, n_parts)


def test_a_cut_between_two_spans_is_in_the_silence():
    samples = np.ones(60 * RATE, np.float32)

    first, second = cut_windows(
        samples, window_samples=FULL, speech=((5.0, 20.0), (21.0, 25.0), (28.0, 50.0))
    )

    assert (first.start, first.stop) == (int(4.6 * RATE), int(25.4 * RATE))
    assert (second.start, second.stop) == (int(27.6 * RATE), int(50.4 * RATE))


@pytest.mark.parametrize(("first_end", "is_split"), [(20.0, False), (13.0, False), (9.0, True)])
def test_a_span_that_does_not_fit_is_split_only_if_the_window_is_almost_empty(first_end, is_split):
    samples = np.ones(60 * RATE, np.float32)
    speech = ((5.0, first_end), (first_end + 1, 50.0))

    first, second, *_ = cut_windows(samples, window_samples=FULL, speech=speech)

    assert (first.stop == second.start) is is_split
    assert (first.duration_s > 20) is is_split


def test_speech_longer_than_a_window_is_cut_in_a_pause():
    samples = np.random.default_rng(0).standard_normal(80 * RATE).astype(np.float32)
    samples[35 * RATE : 36 * RATE] *= 0.001

    windows = list(cut_windows(samples, window_samples=FULL, speech=((10.0, 60.0),)))

    assert windows[0].offset_s == pytest.approx(9.6)
    assert 35.1 <= windows[1].offset_s <= 35.9
    assert windows[0].stop == windows[1].start


def test_a_short_recording_is_one_window_with_speech_and_none_without():
    samples = np.ones(20 * RATE, np.float32)

    (window,) = cut_windows(samples, window_samples=FULL, speech=((8.0, 9.0),))

    assert len(window.samples) == len(samples)
    assert list(cut_windows(samples, window_samples=FULL, speech=())) == []
    assert list(cut_windows(np.ones(90 * RATE, np.float32), window_samples=FULL, speech=())) == []


def test_a_new_window_starts_after_a_long_pause():
    samples = np.ones(70 * RATE, np.float32)
    speech = ((3.0, 5.0), (7.0, 8.0), (13.0, 14.0), (66.0, 68.0))

    windows = list(cut_windows(samples, window_samples=FULL, speech=speech))
    short = list(cut_windows(samples[: 20 * RATE], window_samples=FULL, speech=speech[:3]))

    assert [window.offset_s for window in windows] == pytest.approx([2.6, 12.6, 65.6])
    assert [window.duration_s for window in windows] == pytest.approx([5.8, 1.8, 2.8])
    assert [window.offset_s for window in short] == pytest.approx([2.6, 12.6])
