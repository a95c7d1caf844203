"""When an inbox is scanned completely, and when only the paths named by events."""

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
    """Reports the paths that a test sets."""

    named: Collection[Path] | None = None  # changes before its start are unknown

    def changed_paths(self) -> Collection[Path] | None:
        named, self.named = self.named, ()
        return named


@pytest.fixture
def folder_watcher(harness: Harness) -> NamingFolderWatcher:
    return NamingFolderWatcher(harness.clock)


def new_schedule(harness: Harness, folder_watcher: NamingFolderWatcher) -> ScanSchedule:
    return ScanSchedule(
        [harness.watch], folder_watcher=folder_watcher, clock=harness.clock, rescan_s=60.0
    )


def test_full_scans_run_at_the_start_and_then_at_intervals(
    harness: Harness, folder_watcher: NamingFolderWatcher
):
    schedule = new_schedule(harness, folder_watcher)
    assert schedule.scan()
    harness.inbox.put("a.wav")

    assert not schedule.scan()
    assert harness.states() == {}
    assert schedule.next_s() == harness.clock.monotonic_s() + 60.0
    harness.clock.advance(60.0)
    assert schedule.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_a_named_recording_becomes_ready_without_another_full_scan(
    harness: Harness, folder_watcher: NamingFolderWatcher
):
    schedule = new_schedule(harness, folder_watcher)
    schedule.scan()
    folder_watcher.named = {harness.inbox.put("a.wav").path, Path("/elsewhere/b.wav")}
    schedule.scan()
    assert schedule.next_s() == harness.clock.monotonic_s() + 2.0
    harness.clock.advance(2.0)
    schedule.scan()

    assert harness.states() == {"a.wav": State.READY}
    assert harness.inbox.n_scans == 1


def test_an_event_without_paths_causes_a_full_scan(
    harness: Harness, folder_watcher: NamingFolderWatcher
):
    schedule = new_schedule(harness, folder_watcher)
    schedule.scan()
    harness.inbox.put("a.wav")
    folder_watcher.named = None

    assert schedule.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_a_replaced_inbox_folder_causes_a_full_scan(
    harness: Harness, folder_watcher: NamingFolderWatcher
):
    schedule = new_schedule(harness, folder_watcher)
    schedule.scan()
    harness.inbox.identity = (1, 2)
    folder_watcher.named = {harness.inbox.put("a.wav").path}

    assert not schedule.scan()
    assert schedule.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_full_scans_take_a_fifth_of_the_time_and_do_not_delay_named_files(
    harness: Harness, folder_watcher: NamingFolderWatcher, monkeypatch: pytest.MonkeyPatch
):
    schedule, scan = new_schedule(harness, folder_watcher), harness.inbox.scan
    monkeypatch.setattr(harness.inbox, "scan", lambda: (harness.clock.advance(3.0), scan())[1])
    schedule.scan()
    folder_watcher.named = None
    assert not schedule.scan()  # the backoff is not over
    assert schedule.next_s() == harness.clock.monotonic_s() + PAUSE_FACTOR * 3.0
    folder_watcher.named = {harness.inbox.put("a.wav").path}
    assert not schedule.scan()
    assert harness.states() == {"a.wav": State.SEEN}

    harness.clock.advance(PAUSE_FACTOR * 3.0)
    assert schedule.scan()


def test_a_slowly_read_header_does_not_delay_other_recordings(
    harness: Harness, folder_watcher: NamingFolderWatcher, monkeypatch: pytest.MonkeyPatch
):
    schedule, probe = new_schedule(harness, folder_watcher), harness.decoder.probe
    monkeypatch.setattr(
        harness.decoder, "probe", lambda file: (harness.clock.advance(3.0), probe(file))[1]
    )
    schedule.scan()
    folder_watcher.named = {harness.inbox.put("a.wav").path}
    schedule.scan()
    harness.clock.advance(2.0)
    schedule.scan()
    folder_watcher.named = {harness.inbox.put("b.wav").path}
    schedule.scan()

    assert harness.states() == {"a.wav": State.READY, "b.wav": State.SEEN}


def test_a_full_scan_follows_changes_that_could_not_be_recorded(
    harness: Harness, folder_watcher: NamingFolderWatcher, monkeypatch: pytest.MonkeyPatch
):
    def full(**_: object) -> None:
        raise RetryLater("ledger: the disk is full")

    schedule = new_schedule(harness, folder_watcher)
    schedule.scan()
    folder_watcher.named = {harness.inbox.put("a.wav").path}
    with monkeypatch.context() as patch:
        patch.setattr(harness.ledger, "record_listing", full)
        with pytest.raises(RetryLater):
            schedule.scan()

    assert schedule.scan()
    assert harness.states() == {"a.wav": State.SEEN}


def test_a_drain_continues_soon_after_the_writer_has_closed_the_file(
    harness: Harness, folder_watcher: NamingFolderWatcher
):
    file = harness.inbox.put("a.wav")
    harness.files.being_written.add(file.path)

    def written_in_time() -> bool:
        if harness.clock.seconds >= 7.0:
            harness.files.being_written.clear()
        return False

    harness.serve(until=written_in_time, folder_watcher=folder_watcher)

    assert harness.states() == {"a.wav": State.DONE}
    assert harness.clock.seconds < 12.0


def test_a_drain_ends_with_a_full_scan(harness: Harness, folder_watcher: NamingFolderWatcher):
    def put_after_the_first_batch() -> bool:
        if harness.batches and "late.wav" not in harness.inbox.files:
            harness.inbox.put("late.wav")  # without an event
        return False

    harness.inbox.put("a.wav")
    harness.serve(until=put_after_the_first_batch, folder_watcher=folder_watcher)

    assert harness.states() == {"a.wav": State.DONE, "late.wav": State.DONE}
    # the first scan finds a.wav, the second late.wav, the third nothing
    assert harness.inbox.n_scans == 3


def test_the_loop_processes_a_named_file_long_before_the_next_full_scan(
    harness: Harness, folder_watcher: NamingFolderWatcher
):
    def done_or_too_late() -> bool:
        if harness.clock.seconds >= 1.0 and not harness.inbox.files:
            folder_watcher.named = {harness.inbox.put("a.wav").path}
        return harness.states() == {"a.wav": State.DONE} or harness.clock.seconds > 100

    folder_watcher.wait = lambda timeout_s: bool(harness.clock.advance(min(timeout_s, 1.0)))  # type: ignore[method-assign]
    harness.serve(drain=False, until=done_or_too_late, folder_watcher=folder_watcher)

    assert harness.states() == {"a.wav": State.DONE}
    assert harness.clock.seconds < 10.0
