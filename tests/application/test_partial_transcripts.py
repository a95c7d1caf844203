"""An interrupted long recording resumes after its last saved segment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeEngine
from thoth_watch.application.ports.engine import TranscriptionResult
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript, Segment, Transcript

RATE = 16_000
STEP_S = 30


class ResumableEngine(FakeEngine):
    """Transcribes 30 s at a time and is killed after a given number of steps."""

    def __init__(self, harness: Harness) -> None:
        super().__init__()
        self.harness = harness
        self.killed_after: int | None = None
        self.step_wall_s = 40.0  # processing time of each step
        self.starts: list[float] = []

    def transcribe(
        self, recordings, *, seconds, on_progress, should_stop
    ) -> Iterator[TranscriptionResult]:
        for recording in recordings:
            partial = recording.partial or PartialTranscript(0, (), "en")
            segments, at_s = list(partial.segments), partial.n_samples // RATE
            transcribed = 0
            while at_s < recording.duration_s:
                if transcribed == self.killed_after:
                    raise KeyboardInterrupt
                if should_stop():
                    return
                self.starts.append(at_s)
                segments.append(Segment(at_s, at_s + STEP_S, f" {at_s}"))
                at_s, transcribed = at_s + STEP_S, transcribed + 1
                self.harness.clock.advance(self.step_wall_s)
                if recording.save_partial is not None and at_s < recording.duration_s:
                    recording.save_partial(
                        PartialTranscript(at_s * RATE, tuple(segments), "en", transcribed)
                    )
            yield TranscriptionResult(recording.key, Transcript(tuple(segments), "en", at_s))


@pytest.fixture
def engine(harness: Harness) -> ResumableEngine:
    engine = ResumableEngine(harness)
    harness.engines.fake = engine
    return engine


def drop(harness: Harness, *, duration_s: float) -> None:
    harness.decoder.duration_s = duration_s
    harness.inbox.put("long.wav")
    harness.settle()


def count_saved(harness: Harness) -> int:
    return harness.count("unfinished")


def text(harness: Harness) -> str:
    (content,) = harness.publisher.disk.values()
    return content.decode()


WHOLE = " ".join(str(at) for at in range(0, 900, STEP_S))


def test_a_killed_job_resumes_at_its_last_saved_progress(harness: Harness, engine: ResumableEngine):
    drop(harness, duration_s=900)
    engine.killed_after = 11
    with pytest.raises(KeyboardInterrupt):
        harness.run_once()
    assert count_saved(harness) == 1
    first = list(engine.starts)

    harness.ledger.recover_claims(now=harness.clock.now())
    engine.killed_after, engine.starts = None, []
    harness.run_once()

    assert text(harness) == WHOLE
    assert engine.starts[0] > 0
    n_repeated = 2  # at most two steps since the last save
    assert len(first) + len(engine.starts) <= 900 / STEP_S + n_repeated
    assert count_saved(harness) == 0
    assert harness.states() == {"long.wav": State.DONE}


def test_a_stopped_job_loses_no_transcribed_audio(harness: Harness, engine: ResumableEngine):
    drop(harness, duration_s=900)
    engine.step_wall_s = 1.0  # the save interval is not reached
    harness.run_once(should_stop=lambda: len(engine.starts) >= 5)
    assert harness.states() == {"long.wav": State.READY}

    engine.starts = []
    harness.run_once()

    assert engine.starts[0] == 5 * STEP_S
    assert text(harness) == WHOLE


def test_an_uninterrupted_job_leaves_no_saved_progress(harness: Harness, engine: ResumableEngine):
    drop(harness, duration_s=900)

    harness.run_once()

    assert text(harness) == WHOLE
    assert count_saved(harness) == 0


def test_progress_of_short_recordings_is_not_saved(harness: Harness, engine: ResumableEngine):
    drop(harness, duration_s=300)
    engine.killed_after = 8
    with pytest.raises(KeyboardInterrupt):
        harness.run_once()

    assert count_saved(harness) == 0


def test_other_options_start_from_the_beginning(harness: Harness, engine: ResumableEngine):
    drop(harness, duration_s=900)
    engine.killed_after = 9
    with pytest.raises(KeyboardInterrupt):
        harness.run_once()

    harness.ledger.recover_claims(now=harness.clock.now())
    engine.killed_after, engine.starts, engine.fingerprint = None, [], "another"
    harness.run_once()

    assert engine.starts[0] == 0


@pytest.fixture
def call(harness: Harness, engine: ResumableEngine) -> Harness:
    harness.file_options = replace(harness.file_options, channels="split")
    harness.decoder.channels["long.wav"] = ("left", "right")
    drop(harness, duration_s=900)
    return harness


WHOLE_CALL = " ".join(f"{at} {at}" for at in range(0, 900, STEP_S))


def test_a_killed_channel_resumes_at_its_last_saved_progress(
    call: Harness, engine: ResumableEngine
):
    engine.killed_after = 9
    with pytest.raises(KeyboardInterrupt):
        call.run_once()
    assert count_saved(call) == 1

    call.ledger.recover_claims(now=call.clock.now())
    engine.killed_after, engine.starts = None, []
    call.run_once()

    assert engine.starts[0] == 9 * STEP_S
    assert engine.starts.count(0) == 1  # the right channel
    assert text(call) == WHOLE_CALL
    assert count_saved(call) == 0


def test_a_stop_in_the_second_channel_saves_both(call: Harness, engine: ResumableEngine):
    engine.step_wall_s = 1.0
    call.run_once(should_stop=lambda: len(engine.starts) >= 35)
    assert count_saved(call) == 2

    engine.starts = []
    call.run_once()

    assert engine.starts[:2] == [29 * STEP_S, 5 * STEP_S]  # left channel, then right channel
    assert text(call) == WHOLE_CALL
    assert count_saved(call) == 0
    assert call.states() == {"long.wav": State.DONE}


def test_a_mixed_recording_does_not_resume_from_a_channel(call: Harness, engine: ResumableEngine):
    engine.killed_after = 9
    with pytest.raises(KeyboardInterrupt):
        call.run_once()

    call.ledger.recover_claims(now=call.clock.now())
    call.file_options = replace(call.file_options, channels="mix")
    engine.killed_after, engine.starts = None, []
    call.run_once()

    assert engine.starts[0] == 0
    assert text(call) == WHOLE
