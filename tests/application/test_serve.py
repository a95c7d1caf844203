"""The main loop."""

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


def test_a_drain_without_files_ends_immediately(harness: Harness):
    harness.serve()

    assert harness.batches == []


def test_a_drain_does_not_wait_for_a_retry_that_is_a_minute_away(harness: Harness):
    harness.inbox.put("bad.wav")
    harness.inbox.put("a.wav")
    harness.decoder.bad["bad.wav"] = NotAudio("text, not audio")
    harness.serve()

    assert harness.states() == {"a.wav": State.DONE, "bad.wav": State.RETRY}
    assert harness.clock.seconds < 30


def test_a_drain_leaves_an_empty_file_with_its_reason(harness: Harness):
    harness.inbox.put("a.wav", size=0, modified_ns=int(harness.clock.now().timestamp() * 1e9))
    harness.serve()

    assert harness.states() == {"a.wav": State.SEEN}
    assert harness.rows()["a.wav"]["reason"]


def test_files_of_a_killed_process_run_in_separate_batches_and_are_done(harness: Harness):
    for name in ("a.wav", "b.wav"):
        harness.inbox.put(name)
    harness.settle()
    batch = Batch(tuple(harness.ledger.waiting(harness.resolve_file_options)))
    assert harness.ledger.claim(batch, owner="killed", now=harness.clock.now())
    harness.watch = harness.new_watch()
    harness.serve()

    assert set(harness.states().values()) == {State.DONE}
    assert sorted(harness.batches) == [["a.wav"], ["b.wav"]]


def test_a_killed_program_does_not_count_as_a_decoder_crash_of_its_file(
    harness: Harness,
):
    harness.inbox.put("a.wav")
    harness.settle()
    batch = Batch(tuple(harness.ledger.waiting(harness.resolve_file_options)))
    assert harness.ledger.claim(batch, owner="killed", now=harness.clock.now())
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
    harness.decoder.same_audio["a.wav"] = "other audio"
    harness.serve()

    assert harness.engines.fake.transcribed == ["a.wav", "other audio"]
    assert [c.decode() for c in harness.publisher.disk.values()] == ["other audio"]
    assert harness.rows()["a.wav"]["generation"] == 2


def test_a_file_without_an_event_is_found_by_the_next_full_scan(harness: Harness):
    def done_or_too_late() -> bool:
        if harness.clock.seconds > 0 and not harness.inbox.files:
            harness.inbox.put("a.wav")
        return harness.states() == {"a.wav": State.DONE} or harness.clock.seconds > 3600

    harness.serve(drain=False, until=done_or_too_late)

    assert harness.states() == {"a.wav": State.DONE}


def test_finished_files_stay_done_after_a_restart(harness: Harness):
    harness.inbox.put("a.wav")
    harness.serve()
    harness.watch = harness.new_watch()
    harness.serve()

    assert harness.engines.fake.transcribed == ["a.wav"]
    assert len(harness.runs()) == 1


def test_no_file_is_lost_when_the_ledger_is_full_for_a_while(harness: Harness):
    harness.inbox.put("a.wav")
    recorded, failures = harness.ledger.record_results, [1, 1]

    def sometimes_full(*args, **kwargs):
        if failures:
            failures.pop()
            raise RetryLater("ledger: the disk is full")
        return recorded(*args, **kwargs)

    harness.ledger.record_results = sometimes_full  # type: ignore[method-assign]
    harness.ledger.record_failure = sometimes_full  # type: ignore[method-assign]
    harness.serve(drain=False, until=lambda: harness.states() == {"a.wav": State.DONE})

    assert harness.rows()["a.wav"]["deaths"] == 0
    assert "RUNNING" not in {run["status"] for run in harness.runs()[:-1]}


def test_an_unchanged_long_backlog_is_read_once(harness: Harness, monkeypatch):
    class WatcherWithoutEvents(FakeFolderWatcher):
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
        folder_watcher=WatcherWithoutEvents(harness.clock),
    )

    assert len(harness.batches) == 12
    assert [n for n in reads if n] == [120]


def test_a_newly_settled_file_joins_a_long_backlog_immediately(harness: Harness):
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


def test_batches_wait_until_the_quiet_hours_end(harness: Harness):
    begins = harness.clock.now()
    hours = QuietHours((parse_span("00:00-07:00"),))
    harness.quiet_until = hours.until
    harness.inbox.put("a.wav")
    harness.serve(drain=False, until=lambda: harness.states() == {"a.wav": State.DONE})

    assert harness.clock.now() - begins == timedelta(hours=7)
    assert harness.batches == [["a.wav"]]


def test_a_drain_with_waiting_files_in_quiet_hours_raises_retry_later(harness: Harness):
    harness.quiet_until = QuietHours((parse_span("00:00-07:00"),)).until
    harness.serve()  # no file waits: no error
    harness.inbox.put("a.wav")

    with pytest.raises(RetryLater, match=r"quiet hours until 07:00.*1 files wait"):
        harness.serve()

    assert harness.states() == {"a.wav": State.READY}


def test_a_drain_of_an_unavailable_inbox_raises_retry_later_and_loses_nothing(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.problem = "/inbox: not mounted"

    with pytest.raises(RetryLater, match="not mounted"):
        harness.serve()

    assert harness.states() == {"a.wav": State.READY}


def test_an_idle_engine_is_unloaded_once_and_again_after_the_next_batch(harness: Harness):
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


def test_an_engine_without_an_idle_limit_stays_loaded(harness: Harness):
    unloaded: list[float] = []
    harness.unload = lambda: unloaded.append(harness.clock.seconds)
    harness.inbox.put("a.wav")
    harness.serve(drain=False, until=lambda: harness.clock.seconds > 100_000)

    assert unloaded == []
