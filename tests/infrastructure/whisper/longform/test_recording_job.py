"""Tests of decoding the suspect spans of a recording again and keeping the rest."""

from __future__ import annotations

import numpy as np
import pytest

from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.audio import AudioInfo
from thoth_watch.domain.transcript import Segment, Verdict
from thoth_watch.infrastructure.whisper.longform.recording_job import (
    IndependentWindows,
    RecordingJob,
    WindowResult,
)
from thoth_watch.infrastructure.whisper.longform.windows import Window

RATE = 16_000
WINDOW_S = 30
LOOP = "and so on " * 20


class SpanWindows:
    """A window source that yields one window per span."""

    def __init__(self, spans):
        self._spans = list(spans)

    @property
    def is_exhausted(self):
        return not self._spans

    def next(self):
        start, stop = self._spans.pop(0)
        return Window(start, np.zeros(stop - start, np.float32))

    def advance(self, n_samples, window):
        return window.start + n_samples


@pytest.fixture
def make_job():
    """Return a function that builds a job whose 30 s windows have these texts; None: no text."""

    def make(*texts, speech=None):
        n_samples = len(texts) * WINDOW_S * RATE
        samples = np.zeros(n_samples, np.float32)
        info = AudioInfo(None, n_samples / RATE, RATE, 1, "", "")
        recording = Recording(0, samples, "0" * 64, info, "en", speech=speech)
        starts = range(0, n_samples, WINDOW_S * RATE)
        windows = [Window(start, samples[start : start + WINDOW_S * RATE]) for start in starts]
        job = RecordingJob.for_recording(
            recording, IndependentWindows(iter(windows), n_samples=n_samples)
        )
        for text in texts:
            add_result(job, text)
        return job

    return make


def add_result(job, text, *, is_advancing=True):
    window = job.next_window()
    start_s, stop_s = window.offset_s, window.offset_s + window.duration_s
    segments = ()
    if text:
        segments = (
            Segment(
                start=start_s,
                end=stop_s,
                text=text,
                tokens=(1, 2),
                temperature=0.0,
                avg_logprob=-0.2,
                compression_ratio=1.0,
                no_speech_prob=0.0,
                seek=0,
            ),
        )
    advance_s = window.duration_s if is_advancing else 0.0
    job.add(WindowResult(segments, "en", bool(text), 2, advance_s), window)


def samples(*minutes):
    return [(round(a * 60 * RATE), round(b * 60 * RATE)) for a, b in minutes]


def test_only_the_suspect_window_is_decoded_again(make_job):
    job = make_job("one", LOOP, "three")
    assert job.transcript().verdict is Verdict.SUSPECT
    assert job.suspect_spans() == samples((0.5, 1.0))

    job.retry_spans(SpanWindows(job.suspect_spans()), job.suspect_spans())
    assert not job.is_done
    add_result(job, "two")

    assert job.is_done
    assert [segment.text for segment in job.transcript().segments] == ["one", "two", "three"]
    assert job.transcript().verdict is Verdict.OK
    assert job.transcript().n_tokens == 6


def test_adjacent_suspect_windows_form_one_span(make_job):
    job = make_job(LOOP, LOOP, "three", LOOP)

    assert job.suspect_spans() == samples((0.0, 1.0), (1.5, 2.0))


def test_speech_without_text_is_decoded_again_and_silence_is_not(make_job):
    speech = ((1.0, 29.0), (40.0, 50.0))
    job = make_job("eight words that are said in half a minute", None, None, speech=speech)

    assert job.suspect_spans() == samples((0.5, 1.0))


def test_the_whole_recording_is_decoded_again_if_no_single_window_is_suspect(make_job):
    job = make_job(*["the very same words"] * 4)
    assert job.transcript().verdict is Verdict.SUSPECT

    assert job.suspect_spans() == samples((0.0, 2.0))


def test_a_span_is_decoded_again_only_once(make_job):
    job = make_job(LOOP)
    job.retry_spans(SpanWindows(job.suspect_spans()), job.suspect_spans())
    add_result(job, LOOP)

    assert job.suspect_spans() == []
    assert job.transcript().verdict is Verdict.SUSPECT


def test_only_the_window_at_the_start_of_the_recording_is_the_first(make_job):
    job = make_job("one", LOOP)
    job.retry_spans(SpanWindows(job.suspect_spans()), job.suspect_spans())
    assert not job.is_first(job.next_window())

    suspect_start = make_job(LOOP, "two")
    spans = suspect_start.suspect_spans()
    suspect_start.retry_spans(SpanWindows(spans), spans)
    assert suspect_start.is_first(suspect_start.next_window())


def test_a_window_without_advance_is_decoded_again_entirely(make_job):
    job = make_job()
    job.window_source = SpanWindows(samples((0.0, 0.5)))
    add_result(job, LOOP, is_advancing=False)

    assert job.suspect_spans() == samples((0.0, 0.5))
