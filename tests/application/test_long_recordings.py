"""A long job that is cut off goes on from the last finished stretch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.application.conftest import House
from tests.fakes import FakeEngine
from thoth_watch.application.ports import Transcribed
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Segment, SoFar, Transcript

RATE = 16_000
STEP_S = 30


class StretchByStretch(FakeEngine):
    """Hears half a minute at a time, and is killed after some."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house = house
        self.killed_after: int | None = None
        self.seconds_each = 40.0  # of computing
        self.starts: list[float] = []

    def transcribe(self, recordings, *, seconds, on_progress, should_stop) -> Iterator[Transcribed]:
        for recording in recordings:
            so_far = recording.so_far or SoFar(0, (), "en")
            segments, at_s = list(so_far.segments), so_far.n_samples // RATE
            heard = 0
            while at_s < recording.duration_s:
                if heard == self.killed_after:
                    raise KeyboardInterrupt
                if should_stop():
                    return
                self.starts.append(at_s)
                segments.append(Segment(at_s, at_s + STEP_S, f" {at_s}"))
                at_s, heard = at_s + STEP_S, heard + 1
                self.house.clock.advance(self.seconds_each)
                if recording.keep is not None and at_s < recording.duration_s:
                    recording.keep(SoFar(at_s * RATE, tuple(segments), "en", heard))
            yield Transcribed(recording.key, Transcript(tuple(segments), "en", at_s))


@pytest.fixture
def engine(house: House) -> StretchByStretch:
    engine = StretchByStretch(house)
    house.engines.fake = engine
    return engine


def drop(house: House, *, duration_s: float) -> None:
    house.decoder.duration_s = duration_s
    house.inbox.put("long.wav")
    house.settle()


def kept(house: House) -> int:
    with house.ledger.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM unfinished").scalar_one()


def text(house: House) -> str:
    (content,) = house.publisher.disk.values()
    return content.decode()


WHOLE = " ".join(str(at) for at in range(0, 900, STEP_S))


def test_a_killed_job_goes_on_where_it_was_kept_last(house: House, engine: StretchByStretch):
    drop(house, duration_s=900)
    engine.killed_after = 11
    with pytest.raises(KeyboardInterrupt):
        house.run_once()
    assert kept(house) == 1
    first = list(engine.starts)

    house.ledger.recover(now=house.clock.now())
    engine.killed_after, engine.starts = None, []
    house.run_once()

    assert text(house) == WHOLE
    assert engine.starts[0] > 0
    assert len(first) + len(engine.starts) <= 900 / STEP_S + 2  # two stretches take over a minute
    assert kept(house) == 0
    assert house.states() == {"long.wav": State.DONE}


def test_a_job_that_is_stopped_loses_nothing_that_was_heard(house: House, engine: StretchByStretch):
    drop(house, duration_s=900)
    engine.seconds_each = 1.0  # the minute is not over
    house.run_once(should_stop=lambda: len(engine.starts) >= 5)
    assert house.states() == {"long.wav": State.READY}

    engine.starts = []
    house.run_once()

    assert engine.starts[0] == 5 * STEP_S
    assert text(house) == WHOLE


def test_a_job_in_one_go_leaves_nothing_behind(house: House, engine: StretchByStretch):
    drop(house, duration_s=900)

    house.run_once()

    assert text(house) == WHOLE
    assert kept(house) == 0


def test_short_recordings_are_not_kept(house: House, engine: StretchByStretch):
    drop(house, duration_s=300)
    engine.killed_after = 8
    with pytest.raises(KeyboardInterrupt):
        house.run_once()

    assert kept(house) == 0


def test_other_options_begin_anew(house: House, engine: StretchByStretch):
    drop(house, duration_s=900)
    engine.killed_after = 9
    with pytest.raises(KeyboardInterrupt):
        house.run_once()

    house.ledger.recover(now=house.clock.now())
    engine.killed_after, engine.starts, engine.fingerprint = None, [], "another"
    house.run_once()

    assert engine.starts[0] == 0


@pytest.fixture
def call(house: House, engine: StretchByStretch) -> House:
    house.treatment = replace(house.treatment, channels="split")
    house.decoder.channels["long.wav"] = ("left", "right")
    drop(house, duration_s=900)
    return house


WHOLE_CALL = " ".join(f"{at} {at}" for at in range(0, 900, STEP_S))


def test_a_killed_channel_goes_on_where_it_was_kept_last(call: House, engine: StretchByStretch):
    engine.killed_after = 9
    with pytest.raises(KeyboardInterrupt):
        call.run_once()
    assert kept(call) == 1

    call.ledger.recover(now=call.clock.now())
    engine.killed_after, engine.starts = None, []
    call.run_once()

    assert engine.starts[0] == 9 * STEP_S
    assert engine.starts.count(0) == 1  # the right one
    assert text(call) == WHOLE_CALL
    assert kept(call) == 0


def test_a_stop_in_the_second_channel_keeps_both(call: House, engine: StretchByStretch):
    engine.seconds_each = 1.0
    call.run_once(should_stop=lambda: len(engine.starts) >= 35)
    assert kept(call) == 2

    engine.starts = []
    call.run_once()

    assert engine.starts[:2] == [29 * STEP_S, 5 * STEP_S]  # the last of the left, and the right
    assert text(call) == WHOLE_CALL
    assert kept(call) == 0
    assert call.states() == {"long.wav": State.DONE}


def test_a_mixed_recording_does_not_go_on_with_a_channel(call: House, engine: StretchByStretch):
    engine.killed_after = 9
    with pytest.raises(KeyboardInterrupt):
        call.run_once()

    call.ledger.recover(now=call.clock.now())
    call.treatment = replace(call.treatment, channels="mix")
    engine.killed_after, engine.starts = None, []
    call.run_once()

    assert engine.starts[0] == 0
    assert text(call) == WHOLE
