"""What is heard again of a recording, and what becomes of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from thoth_watch.application.ports import Recording
from thoth_watch.domain.audio import AudioInfo
from thoth_watch.domain.transcript import Segment, Verdict
from thoth_watch.infrastructure.whisper.jobs import Heard, Job, WindowedRoute
from thoth_watch.infrastructure.whisper.windows import Window

RATE = 16_000
WINDOW_S = 30
LOOP = "and so on " * 20


class Straight:
    """A way through some spans, a window each."""

    def __init__(self, spans):
        self._spans = list(spans)

    @property
    def is_over(self):
        return not self._spans

    def next(self):
        start, stop = self._spans.pop(0)
        return Window(start, np.zeros(stop - start, np.float32))

    def advance(self, n_samples, window):
        return window.start + n_samples


@pytest.fixture
def job_of():
    """A job whose windows of half a minute became these texts; None where nothing was heard."""

    def make(*texts, speech=None):
        n_samples = len(texts) * WINDOW_S * RATE
        samples = np.zeros(n_samples, np.float32)
        info = AudioInfo(None, n_samples / RATE, RATE, 1, "", "")
        recording = Recording(0, samples, "0" * 64, info, "en", speech=speech)
        starts = range(0, n_samples, WINDOW_S * RATE)
        windows = [Window(start, samples[start : start + WINDOW_S * RATE]) for start in starts]
        job = Job.taken_up(recording, WindowedRoute(iter(windows), n_samples=n_samples))
        for text in texts:
            hear(job, text)
        return job

    return make


def hear(job, text, *, moves_on=True):
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
    advance_s = window.duration_s if moves_on else 0.0
    job.add(Heard(segments, "en", bool(text), 2, advance_s), window)


def samples(*minutes):
    return [(round(a * 60 * RATE), round(b * 60 * RATE)) for a, b in minutes]


def test_only_the_window_in_doubt_is_heard_again(job_of):
    job = job_of("one", LOOP, "three")
    assert job.transcript().verdict is Verdict.SUSPECT
    assert job.doubted() == samples((0.5, 1.0))

    job.hear_again(Straight(job.doubted()), job.doubted())
    assert not job.is_done
    hear(job, "two")

    assert job.is_done
    assert [segment.text for segment in job.transcript().segments] == ["one", "two", "three"]
    assert job.transcript().verdict is Verdict.OK
    assert job.transcript().n_tokens == 6


def test_windows_in_doubt_that_touch_are_one_stretch(job_of):
    job = job_of(LOOP, LOOP, "three", LOOP)

    assert job.doubted() == samples((0.0, 1.0), (1.5, 2.0))


def test_speech_without_words_is_heard_again_and_silence_is_not(job_of):
    speech = ((1.0, 29.0), (40.0, 50.0))
    job = job_of("eight words that are said in half a minute", None, None, speech=speech)

    assert job.doubted() == samples((0.5, 1.0))


def test_all_is_heard_again_where_only_the_whole_is_in_doubt(job_of):
    job = job_of(*["the very same words"] * 4)
    assert job.transcript().verdict is Verdict.SUSPECT

    assert job.doubted() == samples((0.0, 2.0))


def test_what_was_heard_again_is_believed(job_of):
    job = job_of(LOOP)
    job.hear_again(Straight(job.doubted()), job.doubted())
    hear(job, LOOP)

    assert job.doubted() == []
    assert job.transcript().verdict is Verdict.SUSPECT


def test_only_the_window_that_begins_the_recording_is_its_first(job_of):
    job = job_of("one", LOOP)
    job.hear_again(Straight(job.doubted()), job.doubted())
    assert not job.is_first(job.next_window())

    other = job_of(LOOP, "two")
    other.hear_again(Straight(other.doubted()), other.doubted())
    assert other.is_first(other.next_window())


def test_a_window_that_moved_nothing_on_is_heard_again_whole(job_of):
    job = job_of()
    job.route = Straight(samples((0.0, 0.5)))
    hear(job, LOOP, moves_on=False)

    assert job.doubted() == samples((0.0, 0.5))
