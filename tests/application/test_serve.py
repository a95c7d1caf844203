"""The loop."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeFolderWatcher
from thoth_watch.domain.batching import Batch, BatchPolicy
from thoth_watch.domain.errors import DecoderCrashed, NotAudio, RetryLater
from thoth_watch.domain.quiet_hours import QuietHours, parse_span
from thoth_watch.domain.states import State


def test_a_drain_ends_when_every_file_is_done(harness: Harness):
    for number in range(40):
        harness.inbox.put(f"{number}.wav")
    harness.policy = BatchPolicy(max_files=16)
    harness.serve()

    assert set(harness.states().values()) == {State.DONE}
    assert sorted(len(batch) for batch in harness.batches) == [8, 16, 16]
    assert len(harness.runs()) == 3


def test_a_drain_of_nothing_ends_at_once(harness: Harness):
    harness.serve()

    assert harness.batches == []


def test_a_drain_does_not_wait_for_a_retry_that_is_a_minute_away(harness: Harness):
    harness.inbox.put("bad.wav")
    harness.inbox.put("a.wav")
    harness.decoder.bad["bad.wav"] = NotAudio("text, not sound")
    harness.serve()

    assert harness.states() == {"a.wav": State.DONE, "bad.wav": State.RETRY}
    assert harness.clock.seconds < 30


def test_a_drain_leaves_an_empty_file_with_its_reason(harness: Harness):
    harness.inbox.put("a.wav", size=0, modified_ns=int(harness.clock.now().timestamp() * 1e9))
    harness.serve()

    assert harness.states() == {"a.wav": State.SEEN}
    assert harness.rows()["a.wav"]["reason"]


def test_files_that_a_killed_process_held_go_alone_and_all_are_done(harness: Harness):
    for name in ("a.wav", "b.wav"):
        harness.inbox.put(name)
    harness.settle()
    batch = Batch(tuple(harness.ledger.waiting(harness.resolve_file_options)))
    assert harness.ledger.claim(batch, owner="the dead", now=harness.clock.now())
    harness.watch = harness.new_watch()
    harness.serve()

    assert set(harness.states().values()) == {State.DONE}
    assert sorted(harness.batches) == [["a.wav"], ["b.wav"]]


def test_a_killed_program_is_not_held_against_a_file_that_crashes_the_decoder_once(
    harness: Harness,
):
    harness.inbox.put("a.wav")
    harness.settle()
    batch = Batch(tuple(harness.ledger.waiting(harness.resolve_file_options)))
    assert harness.ledger.claim(batch, owner="the dead", now=harness.clock.now())
    harness.ledger.recover_claims(now=harness.clock.now())
    harness.decoder.bad["a.wav"] = DecoderCrashed("decoding crashed")
    harness.run_once()

    assert harness.states() == {"a.wav": State.RETRY}
    harness.decoder.bad.clear()
    harness.serve()
    assert harness.states() == {"a.wav": State.DONE}


def test_a_changed_recording_is_transcribed_again(harness: Harness):
    harness.inbox.put("a.wav")
    harness.serve()
    harness.inbox.put("a.wav", size=200)
    harness.decoder.same_audio["a.wav"] = "another sound"
    harness.serve()

    assert harness.engines.fake.transcribed == ["a.wav", "another sound"]
    assert [c.decode() for c in harness.publisher.disk.values()] == ["another sound"]
    assert harness.rows()["a.wav"]["generation"] == 2


def test_a_file_that_no_event_told_of_is_found_by_the_next_look(harness: Harness):
    def done_or_too_late() -> bool:
        if harness.clock.seconds > 0 and not harness.inbox.files:
            harness.inbox.put("a.wav")
        return harness.states() == {"a.wav": State.DONE} or harness.clock.seconds > 3600

    harness.serve(drain=False, until=done_or_too_late)

    assert harness.states() == {"a.wav": State.DONE}


def test_what_was_done_stays_done_after_a_restart(harness: Harness):
    harness.inbox.put("a.wav")
    harness.serve()
    harness.watch = harness.new_watch()
    harness.serve()

    assert harness.engines.fake.transcribed == ["a.wav"]
    assert len(harness.runs()) == 1


def test_a_ledger_that_was_full_for_a_while_strands_no_file(harness: Harness):
    harness.inbox.put("a.wav")
    recorded, failures = harness.ledger.record_results, [1, 1]

    def sometimes_full(*arguments, **named):
        if failures:
            failures.pop()
            raise RetryLater("ledger: the disk is full")
        return recorded(*arguments, **named)

    harness.ledger.record_results = sometimes_full  # type: ignore[method-assign]
    harness.ledger.record_failure = sometimes_full  # type: ignore[method-assign]
    harness.serve(drain=False, until=lambda: harness.states() == {"a.wav": State.DONE})

    assert harness.rows()["a.wav"]["deaths"] == 0
    assert "RUNNING" not in {run["status"] for run in harness.runs()[:-1]}


def test_a_long_list_that_nothing_was_added_to_is_read_once(harness: Harness, monkeypatch):
    class OfBatchesOnly(FakeFolderWatcher):
        def changed_paths(self):
            return ()

        def wait(self, timeout_s):
            return True

    reads: list[int] = []
    waiting = harness.ledger.waiting

    def counted(resolve_file_options):
        found = waiting(resolve_file_options)
        reads.append(len(found))
        return found

    for number in range(120):
        harness.inbox.put(f"{number}.wav")
    harness.settle()
    monkeypatch.setattr(harness.ledger, "waiting", counted)
    harness.policy = BatchPolicy(max_files=10, max_wait_s=0.0)
    harness.serve(
        drain=False,
        until=lambda: set(harness.states().values()) == {State.DONE},
        folder_watcher=OfBatchesOnly(harness.clock),
    )

    assert len(harness.batches) == 12
    assert [n for n in reads if n] == [120]


def test_what_settles_behind_a_long_list_joins_it_at_once(harness: Harness):
    harness.policy = BatchPolicy(max_files=10, max_wait_s=0.0, order="shortest")
    for number in range(60):
        harness.inbox.put(f"{number}.wav")
    harness.settle()

    def until() -> bool:
        if len(harness.batches) == 1 and "short.wav" not in harness.states():
            harness.decoder.duration_s = 1.0
            harness.inbox.put("short.wav")
        return set(harness.states().values()) == {State.DONE}

    harness.serve(drain=False, until=until, rescan_s=1.0)

    assert "short.wav" not in harness.batches[-1]


def test_nothing_is_begun_in_quiet_hours_and_all_of_it_afterwards(harness: Harness):
    begins = harness.clock.now()
    hours = QuietHours((parse_span("00:00-07:00"),))
    harness.quiet_until = hours.until
    harness.inbox.put("a.wav")
    harness.serve(drain=False, until=lambda: harness.states() == {"a.wav": State.DONE})

    assert harness.clock.now() - begins == timedelta(hours=7)
    assert harness.batches == [["a.wav"]]


def test_a_drain_in_quiet_hours_is_for_later(harness: Harness):
    harness.quiet_until = QuietHours((parse_span("00:00-07:00"),)).until
    harness.serve()  # nothing waits: nothing is in the way
    harness.inbox.put("a.wav")

    with pytest.raises(RetryLater, match=r"quiet hours until 07:00.*1 files wait"):
        harness.serve()

    assert harness.states() == {"a.wav": State.READY}


def test_a_drain_of_an_inbox_that_is_away_is_for_later_and_loses_nothing(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.problem = "/inbox: not mounted"

    with pytest.raises(RetryLater, match="not mounted"):
        harness.serve()

    assert harness.states() == {"a.wav": State.READY}


def test_an_engine_without_work_is_unloaded_once_and_again_after_the_next_batch(harness: Harness):
    unloaded: list[float] = []
    harness.idle_unload_s, harness.unload = 100.0, lambda: unloaded.append(harness.clock.seconds)

    def two_batches_and_a_while() -> bool:
        if harness.clock.seconds > 500 and len(harness.inbox.files) < 2:
            harness.inbox.put("b.wav")
        return harness.clock.seconds > 1_000

    harness.inbox.put("a.wav")
    harness.serve(drain=False, until=two_batches_and_a_while)

    assert len(harness.batches) == len(unloaded) == 2
    assert 100 <= unloaded[0] < 200
    assert 600 <= unloaded[1] < 700


def test_an_engine_that_is_to_stay_stays(harness: Harness):
    unloaded: list[float] = []
    harness.unload = lambda: unloaded.append(harness.clock.seconds)
    harness.inbox.put("a.wav")
    harness.serve(drain=False, until=lambda: harness.clock.seconds > 100_000)

    assert unloaded == []
