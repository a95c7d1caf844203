"""When an inbox is looked at as a whole, and when only at what an event names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeFolderWatcher
from thoth_watch.application.backoff import PAUSE_FACTOR
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.states import State


class NamingFolderWatcher(FakeFolderWatcher):
    """Names what a test says."""

    named: Collection[Path] | None = None  # what happened before it was there is not known

    def changed_paths(self) -> Collection[Path] | None:
        named, self.named = self.named, ()
        return named


@pytest.fixture
def bell(harness: Harness) -> NamingFolderWatcher:
    return NamingFolderWatcher(harness.clock)


def around(harness: Harness, bell: NamingFolderWatcher) -> ScanSchedule:
    return ScanSchedule([harness.watch], folder_watcher=bell, clock=harness.clock, rescan_s=60.0)


def test_the_whole_is_seen_at_first_and_then_by_the_clock_alone(
    harness: Harness, bell: NamingFolderWatcher
):
    looks = around(harness, bell)
    assert looks.scan()
    harness.inbox.put("a.wav")

    assert not looks.scan()
    assert harness.states() == {}
    assert looks.next_s() == harness.clock.monotonic_s() + 60.0
    harness.clock.advance(60.0)
    assert looks.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_a_named_recording_is_ready_without_another_look_at_the_whole(
    harness: Harness, bell: NamingFolderWatcher
):
    looks = around(harness, bell)
    looks.scan()
    bell.named = {harness.inbox.put("a.wav").path, Path("/elsewhere/b.wav")}
    looks.scan()
    assert looks.next_s() == harness.clock.monotonic_s() + 2.0
    harness.clock.advance(2.0)
    looks.scan()

    assert harness.states() == {"a.wav": State.READY}
    assert harness.inbox.n_scans == 1


def test_the_whole_is_seen_where_an_event_cannot_say_what_changed(
    harness: Harness, bell: NamingFolderWatcher
):
    looks = around(harness, bell)
    looks.scan()
    harness.inbox.put("a.wav")
    bell.named = None

    assert looks.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_the_whole_is_seen_where_another_folder_took_the_inboxs_place(
    harness: Harness, bell: NamingFolderWatcher
):
    looks = around(harness, bell)
    looks.scan()
    harness.inbox.identity = (1, 2)
    bell.named = {harness.inbox.put("a.wav").path}

    assert not looks.scan()
    assert looks.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_a_huge_inbox_costs_a_fifth_of_the_time_and_does_not_keep_a_named_one_waiting(
    harness: Harness, bell: NamingFolderWatcher, monkeypatch: pytest.MonkeyPatch
):
    looks, scan = around(harness, bell), harness.inbox.scan
    monkeypatch.setattr(harness.inbox, "scan", lambda: (harness.clock.advance(3.0), scan())[1])
    looks.scan()
    bell.named = None
    assert not looks.scan()  # not so soon
    assert looks.next_s() == harness.clock.monotonic_s() + PAUSE_FACTOR * 3.0
    bell.named = {harness.inbox.put("a.wav").path}
    assert not looks.scan()
    assert harness.states() == {"a.wav": State.SEEN}

    harness.clock.advance(PAUSE_FACTOR * 3.0)
    assert looks.scan()


def test_reading_a_header_slowly_keeps_no_other_recording_waiting(
    harness: Harness, bell: NamingFolderWatcher, monkeypatch: pytest.MonkeyPatch
):
    looks, probe = around(harness, bell), harness.decoder.probe
    monkeypatch.setattr(
        harness.decoder, "probe", lambda file: (harness.clock.advance(3.0), probe(file))[1]
    )
    looks.scan()
    bell.named = {harness.inbox.put("a.wav").path}
    looks.scan()
    harness.clock.advance(2.0)
    looks.scan()
    bell.named = {harness.inbox.put("b.wav").path}
    looks.scan()

    assert harness.states() == {"a.wav": State.READY, "b.wav": State.SEEN}


def test_what_could_not_be_recorded_is_made_up_for_by_a_look_at_the_whole(
    harness: Harness, bell: NamingFolderWatcher, monkeypatch: pytest.MonkeyPatch
):
    def full(**_: object) -> None:
        raise RetryLater("ledger: the disk is full")

    looks = around(harness, bell)
    looks.scan()
    bell.named = {harness.inbox.put("a.wav").path}
    with monkeypatch.context() as patch:
        patch.setattr(harness.ledger, "record_listing", full)
        with pytest.raises(RetryLater):
            looks.scan()

    assert looks.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_a_drain_waits_no_longer_than_it_must_for_a_writer_that_ends(
    harness: Harness, bell: NamingFolderWatcher
):
    file = harness.inbox.put("a.wav")
    harness.files.being_written.add(file.path)

    def written_in_time() -> bool:
        if harness.clock.seconds >= 7.0:
            harness.files.being_written.clear()
        return False

    harness.serve(until=written_in_time, folder_watcher=bell)

    assert harness.states() == {"a.wav": State.DONE}
    assert harness.clock.seconds < 12.0


def test_a_drain_sees_the_whole_once_more_before_it_ends(
    harness: Harness, bell: NamingFolderWatcher
):
    def put_after_the_first_batch() -> bool:
        if harness.batches and "late.wav" not in harness.inbox.files:
            harness.inbox.put("late.wav")  # and nobody rings
        return False

    harness.inbox.put("a.wav")
    harness.serve(until=put_after_the_first_batch, folder_watcher=bell)

    assert harness.states() == {"a.wav": State.DONE, "late.wav": State.DONE}
    assert harness.inbox.n_scans == 3  # at first, then late.wav, then nothing


def test_the_loop_takes_up_what_is_named_long_before_it_looks_again(
    harness: Harness, bell: NamingFolderWatcher
):
    def done_or_too_late() -> bool:
        if harness.clock.seconds >= 1.0 and not harness.inbox.files:
            bell.named = {harness.inbox.put("a.wav").path}
        return harness.states() == {"a.wav": State.DONE} or harness.clock.seconds > 100

    bell.wait = lambda timeout_s: bool(harness.clock.advance(min(timeout_s, 1.0)))  # type: ignore[method-assign]
    harness.serve(drain=False, until=done_or_too_late, folder_watcher=bell)

    assert harness.states() == {"a.wav": State.DONE}
    assert harness.clock.seconds < 10.0
