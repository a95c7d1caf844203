"""Tests of sequential decoding: features, cuts and tokens equal those of transformers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from tests.infrastructure.whisper.conftest import NEW_TOKENS
from thoth_watch.application.ports.engine import EngineSeconds
from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper import (
    AcceleratedWhisperEngine,
    BatchWhisperEngine,
    WhisperEngine,
)
from thoth_watch.infrastructure.whisper.decoding.segments import cut_sequentially
from thoth_watch.infrastructure.whisper.longform.sequential import (
    RecordingMels,
    SequentialWindows,
    choose_advance,
)
from thoth_watch.infrastructure.whisper.longform.windows import Window
from thoth_watch.infrastructure.whisper.network.silence_warnings import silence_warnings

BEGIN = 1000
RATE = 16_000
SEQUENTIAL = DecodingOptions(
    long_form="sequential",
    chunk_length=30,
    temperature=(0.0,),
    compression_ratio_threshold=None,
    logprob_threshold=None,
    no_speech_threshold=None,
    condition_on_previous_text=False,
    retry_suspect=False,
)


def timestamp(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def cut(*tokens: int, window_s: float = 30.0):
    segments, advance_s = cut_sequentially(
        tokens, timestamp_begin=BEGIN, step_s=0.02, window_s=window_s
    )
    return [(round(s.start, 2), round(s.end, 2)) for s in segments], round(advance_s, 2)


def test_the_next_window_starts_at_the_unfinished_segment():
    assert cut(timestamp(0), 1, timestamp(2), timestamp(2), 2, 3) == ([(0.0, 2.0)], 2.0)


def test_a_single_timestamp_at_the_end_means_that_no_speech_follows():
    tokens = (timestamp(0), 1, timestamp(2), timestamp(3), 2, timestamp(5))
    assert cut(*tokens) == ([(0.0, 2.0), (3.0, 5.0)], 30.0)


def test_without_consecutive_timestamps_the_window_is_one_segment():
    assert cut(timestamp(0), 1, 2, timestamp(4)) == ([(0.0, 4.0)], 30.0)
    assert cut(timestamp(0), 1, 2, window_s=12.5) == ([(0.0, 12.5)], 12.5)


@pytest.fixture
def extractor(load):
    return load()._loaded.extractor


@pytest.mark.parametrize("n_samples", [RATE * 23 + 77, RATE * 20, RATE * 21 + 159])
def test_features_of_a_span_equal_those_of_the_whole_recording(extractor, n_samples):
    loudness = np.linspace(0, 0.5, n_samples)
    samples = (np.random.default_rng(0).standard_normal(n_samples) * loudness).astype(np.float32)
    whole = extractor(
        [samples], sampling_rate=RATE, return_tensors="pt", truncation=False, padding="longest"
    ).input_features[0]

    mels = RecordingMels(extractor, samples)

    assert mels.n_frames == whole.shape[1]
    for first in (0, 998, whole.shape[1] - 300):
        found = mels.slice_features(first, 500)
        expected = whole[:, first : first + 500]
        torch.testing.assert_close(found[:, : expected.shape[1]], expected, atol=1e-6, rtol=0)
        assert not found[:, expected.shape[1] :].any()


def test_the_next_window_waits_for_the_advance_of_the_last(extractor, bursts):
    source = SequentialWindows(extractor, bursts(12))

    first = source.next()
    assert first is not None
    assert source.next() is None
    assert source.advance(2 * RATE, first) == 2 * RATE
    second = source.next()
    assert second is not None
    assert second.start == 2 * RATE
    assert not source.is_exhausted


def test_a_window_without_advance_is_skipped(extractor, bursts):
    source, starts = SequentialWindows(extractor, bursts(12)), []

    while (window := source.next()) is not None:
        starts.append(window.start)
        source.advance(0, window)

    assert starts == [0, 5 * RATE, 10 * RATE]


def test_silence_is_skipped(extractor, bursts):
    source, starts = (
        SequentialWindows(extractor, bursts(20), speech=[(3.0, 4.0), (12.01, 13.0)]),
        [],
    )

    while (window := source.next()) is not None:
        starts.append(window.start)
        source.advance(RATE, window)

    assert starts == [3 * RATE, 12 * RATE]


def test_a_shortened_window_ends_in_a_pause(extractor):
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 12 * RATE).astype(np.float32)
    samples[round(2.7 * RATE) : round(3.1 * RATE)] = 0.0
    source, windows = SequentialWindows(extractor, samples, window_samples=4 * RATE), []

    while (window := source.next()) is not None:
        windows.append((window.start, window.stop))
        source.advance(0, window)

    assert 2.7 * RATE < windows[0][1] < 3.1 * RATE
    assert all(stop - start <= 4 * RATE for start, stop in windows)
    assert [start for start, _ in windows] == [0, *(stop for _, stop in windows[:-1])]
    assert windows[-1][1] == len(samples)


def test_windows_cover_only_the_requested_spans(extractor, bursts):
    spans = ((2 * RATE, 4 * RATE), (9 * RATE, 16 * RATE))
    source, windows = SequentialWindows(extractor, bursts(20), spans=spans), []

    while (window := source.next()) is not None:
        windows.append((window.start / RATE, window.stop / RATE))
        source.advance(4 * RATE if len(windows) == 2 else 0, window)

    assert windows == [(2, 4), (9, 14), (13, 16)]
    assert source.is_exhausted


def test_no_window_spans_a_long_pause(extractor, bursts):
    samples = bursts(20)
    samples[-RATE:] = 0.9 * np.sign(samples[-RATE:])  # the loudest part
    source = SequentialWindows(extractor, samples, speech=[(3.0, 4.0), (6.0, 6.5), (12.01, 13.0)])

    first = source.next()
    features = first.recording_features()
    next_sample = source.advance(round(3.9 * RATE), first)
    assert next_sample == 12 * RATE  # the pause after its speech is skipped
    second = source.next()

    assert (first.start, first.stop) == (3 * RATE, round(6.9 * RATE))
    assert (second.start, second.stop) == (12 * RATE, round(13.4 * RATE))
    assert features.shape[1] == 500
    whole = RecordingMels(extractor, samples).slice_features(300, 500)
    assert torch.equal(features[:, :390], whole[:, :390])
    samples[round(6.9 * RATE) - 200 : 12 * RATE] = 0.0
    silent = RecordingMels(extractor, samples).slice_features(300, 500)
    torch.testing.assert_close(features[:, 393:], silent[:, 393:])


def generate_with_transformers(folder, extractor, samples, **options):
    with silence_warnings():
        model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    features = extractor(
        [samples],
        sampling_rate=RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest",
        return_attention_mask=True,
    )
    with torch.inference_mode(), silence_warnings():
        return model.generate(
            features.input_features,
            attention_mask=features.attention_mask,
            return_timestamps=True,
            return_segments=True,
            language="de",
            task="transcribe",
            **options,
        )["segments"][0]


def transcribe_one(engine, recording, samples):
    (done,) = engine.transcribe(
        [recording(0, samples, language="de")],
        seconds=EngineSeconds(),
        on_progress=lambda _: None,
        should_stop=lambda: False,
    )
    return done.transcript


@pytest.mark.parametrize(
    "uses_previous_text", [False, True], ids=["independent", "on previous text"]
)
@pytest.mark.parametrize(
    "engine_class",
    [
        WhisperEngine,
        AcceleratedWhisperEngine,
        BatchWhisperEngine,
    ],
)
def test_tokens_and_times_of_a_long_recording_equal_those_of_transformers(
    load, tiny_whisper, recording, bursts, extractor, engine_class, uses_previous_text
):
    samples = bursts(23, seed=5)
    special = load()._loaded.special_tokens
    beyond = range(special.timestamp_begin + 251, special.timestamp_begin + 1501)  # after 5 s
    forbidden = (*special.suppressed, *beyond)
    expected = generate_with_transformers(
        tiny_whisper,
        extractor,
        samples,
        suppress_tokens=list(forbidden),
        condition_on_prev_tokens=uses_previous_text,
        max_new_tokens=NEW_TOKENS,  # transformers' own limit grows from window to window
    )

    options = replace(
        SEQUENTIAL, suppress_tokens=forbidden, condition_on_previous_text=uses_previous_text
    )
    transcript = transcribe_one(load(engine_class, decoding=options), recording, samples)

    assert [t for s in transcript.segments for t in s.tokens if t < special.end] == [
        t for s in expected for t in s["tokens"].tolist() if t < special.end
    ]
    bounds = [[min(round(float(s[side]), 2), 23.0) for s in expected] for side in ("start", "end")]
    times = list(zip(*bounds, strict=True))
    assert len({segment.seek for segment in transcript.segments}) >= 3
    for segment in transcript.segments:
        assert (round(segment.start, 2), round(segment.end, 2)) in times


@pytest.mark.parametrize(
    ("words_end_s", "speech", "next_s"),
    [
        (1.7, ((10.0, 14.5),), 1.7),  # the rest of this speech has no text
        (1.7, ((10.0, 12.3), (14.0, 14.3)), 6.0),  # within the tolerance of speech times
        (4.4, ((10.0, 14.5), (17.0, 20.0)), 6.0),  # the speech belongs to the next window
        (0.1, ((10.0, 14.5),), 6.0),  # would not advance
    ],
)
def test_the_next_window_starts_at_speech_that_got_no_text(words_end_s, speech, next_s):
    window = Window(10 * RATE, np.zeros(6 * RATE, np.float32))

    assert choose_advance(words_end_s, 6.0, window=window, speech=speech) == next_s
