"""The loop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.application.conftest import House
from tests.fakes import FakeDoorbell
from thoth_watch.domain.batching import Batch, BatchPolicy
from thoth_watch.domain.errors import DecoderCrashed, NotAudio, TryLater
from thoth_watch.domain.quiet_hours import QuietHours, parse_span
from thoth_watch.domain.states import State


def test_a_drain_ends_when_every_file_is_done(house: House):
    for number in range(40):
        house.inbox.put(f"{number}.wav")
    house.policy = BatchPolicy(max_files=16)
    house.serve()

    assert set(house.states().values()) == {State.DONE}
    assert sorted(len(batch) for batch in house.batches) == [8, 16, 16]
    assert len(house.runs()) == 3


def test_a_drain_of_nothing_ends_at_once(house: House):
    house.serve()

    assert house.batches == []


def test_a_drain_does_not_wait_for_a_retry_that_is_a_minute_away(house: House):
    house.inbox.put("bad.wav")
    house.inbox.put("a.wav")
    house.decoder.bad["bad.wav"] = NotAudio("text, not sound")
    house.serve()

    assert house.states() == {"a.wav": State.DONE, "bad.wav": State.RETRY}
    assert house.clock.seconds < 30


def test_a_drain_leaves_an_empty_file_with_its_reason(house: House):
    house.inbox.put("a.wav", size=0, modified_ns=int(house.clock.now().timestamp() * 1e9))
    house.serve()

    assert house.states() == {"a.wav": State.SEEN}
    assert house.rows()["a.wav"]["reason"]


def test_files_that_a_killed_process_held_go_alone_and_all_are_done(house: House):
    for name in ("a.wav", "b.wav"):
        house.inbox.put(name)
    house.settle()
    batch = Batch(tuple(house.ledger.waiting(house.treatment_of)))
    assert house.ledger.claim(batch, owner="the dead", now=house.clock.now())
    house.watch = house.new_watch()
    house.serve()

    assert set(house.states().values()) == {State.DONE}
    assert sorted(house.batches) == [["a.wav"], ["b.wav"]]


def test_a_killed_program_is_not_held_against_a_file_that_crashes_the_decoder_once(house: House):
    house.inbox.put("a.wav")
    house.settle()
    batch = Batch(tuple(house.ledger.waiting(house.treatment_of)))
    assert house.ledger.claim(batch, owner="the dead", now=house.clock.now())
    house.ledger.recover(now=house.clock.now())
    house.decoder.bad["a.wav"] = DecoderCrashed("decoding crashed")
    house.run_once()

    assert house.states() == {"a.wav": State.RETRY}
    house.decoder.bad.clear()
    house.serve()
    assert house.states() == {"a.wav": State.DONE}


def test_a_changed_recording_is_transcribed_again(house: House):
    house.inbox.put("a.wav")
    house.serve()
    house.inbox.put("a.wav", size=200)
    house.decoder.same_sound["a.wav"] = "another sound"
    house.serve()

    assert house.engines.fake.heard == ["a.wav", "another sound"]
    assert [c.decode() for c in house.publisher.disk.values()] == ["another sound"]
    assert house.rows()["a.wav"]["generation"] == 2


def test_a_file_that_no_event_told_of_is_found_by_the_next_look(house: House):
    def done_or_too_late() -> bool:
        if house.clock.seconds > 0 and not house.inbox.files:
            house.inbox.put("a.wav")
        return house.states() == {"a.wav": State.DONE} or house.clock.seconds > 3600

    house.serve(drain=False, until=done_or_too_late)

    assert house.states() == {"a.wav": State.DONE}


def test_what_was_done_stays_done_after_a_restart(house: House):
    house.inbox.put("a.wav")
    house.serve()
    house.watch = house.new_watch()
    house.serve()

    assert house.engines.fake.heard == ["a.wav"]
    assert len(house.runs()) == 1


def test_a_ledger_that_was_full_for_a_while_strands_no_file(house: House):
    house.inbox.put("a.wav")
    recorded, failures = house.ledger.record_results, [1, 1]

    def sometimes_full(*arguments, **named):
        if failures:
            failures.pop()
            raise TryLater("ledger: the disk is full")
        return recorded(*arguments, **named)

    house.ledger.record_results = sometimes_full  # type: ignore[method-assign]
    house.ledger.record_failure = sometimes_full  # type: ignore[method-assign]
    house.serve(drain=False, until=lambda: house.states() == {"a.wav": State.DONE})

    assert house.rows()["a.wav"]["deaths"] == 0
    assert "RUNNING" not in {run["status"] for run in house.runs()[:-1]}


def test_a_long_list_that_nothing_was_added_to_is_read_once(house: House, monkeypatch):
    class OfBatchesOnly(FakeDoorbell):
        def changed(self):
            return ()

        def wait(self, timeout_s):
            return True

    reads: list[int] = []
    waiting = house.ledger.waiting

    def counted(treatment_of):
        found = waiting(treatment_of)
        reads.append(len(found))
        return found

    for number in range(120):
        house.inbox.put(f"{number}.wav")
    house.settle()
    monkeypatch.setattr(house.ledger, "waiting", counted)
    house.policy = BatchPolicy(max_files=10, max_wait_s=0.0)
    house.serve(
        drain=False,
        until=lambda: set(house.states().values()) == {State.DONE},
        doorbell=OfBatchesOnly(house.clock),
    )

    assert len(house.batches) == 12
    assert [n for n in reads if n] == [120]


def test_what_settles_behind_a_long_list_joins_it_at_once(house: House):
    house.policy = BatchPolicy(max_files=10, max_wait_s=0.0, order="shortest")
    for number in range(60):
        house.inbox.put(f"{number}.wav")
    house.settle()

    def until() -> bool:
        if len(house.batches) == 1 and "short.wav" not in house.states():
            house.decoder.duration_s = 1.0
            house.inbox.put("short.wav")
        return set(house.states().values()) == {State.DONE}

    house.serve(drain=False, until=until, rescan_s=1.0)

    assert "short.wav" not in house.batches[-1]


def test_nothing_is_begun_in_quiet_hours_and_all_of_it_afterwards(house: House):
    begins = house.clock.now()
    hours = QuietHours((parse_span("00:00-07:00"),))
    house.quiet_until = hours.until
    house.inbox.put("a.wav")
    house.serve(drain=False, until=lambda: house.states() == {"a.wav": State.DONE})

    assert house.clock.now() - begins == timedelta(hours=7)
    assert house.batches == [["a.wav"]]


def test_a_drain_in_quiet_hours_is_for_later(house: House):
    house.quiet_until = QuietHours((parse_span("00:00-07:00"),)).until
    house.serve()  # nothing waits: nothing is in the way
    house.inbox.put("a.wav")

    with pytest.raises(TryLater, match=r"quiet hours until 07:00.*1 files wait"):
        house.serve()

    assert house.states() == {"a.wav": State.READY}


def test_a_drain_of_an_inbox_that_is_away_is_for_later_and_loses_nothing(house: House):
    house.inbox.put("a.wav")
    house.settle()
    house.inbox.problem = "/inbox: not mounted"

    with pytest.raises(TryLater, match="not mounted"):
        house.serve()

    assert house.states() == {"a.wav": State.READY}


def test_an_engine_without_work_is_unloaded_once_and_again_after_the_next_batch(house: House):
    unloaded: list[float] = []
    house.idle_unload_s, house.unload = 100.0, lambda: unloaded.append(house.clock.seconds)

    def two_batches_and_a_while() -> bool:
        if house.clock.seconds > 500 and len(house.inbox.files) < 2:
            house.inbox.put("b.wav")
        return house.clock.seconds > 1_000

    house.inbox.put("a.wav")
    house.serve(drain=False, until=two_batches_and_a_while)

    assert len(house.batches) == len(unloaded) == 2
    assert 100 <= unloaded[0] < 200
    assert 600 <= unloaded[1] < 700


def test_an_engine_that_is_to_stay_stays(house: House):
    unloaded: list[float] = []
    house.unload = lambda: unloaded.append(house.clock.seconds)
    house.inbox.put("a.wav")
    house.serve(drain=False, until=lambda: house.clock.seconds > 100_000)

    assert unloaded == []
