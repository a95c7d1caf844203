"""Successive scans of one inbox."""

from __future__ import annotations

import pytest

from tests.application.conftest import Harness
from thoth_watch.application.watch_inbox import REASON_EMPTY, REASON_WRITER
from thoth_watch.domain.audio import RefusedEntry
from thoth_watch.domain.states import State


def test_a_new_file_has_a_row_immediately_and_is_ready_when_settled(harness: Harness):
    harness.inbox.put("a.wav")
    harness.watch.scan()
    assert harness.states() == {"a.wav": State.SEEN}

    harness.clock.advance(2.0)
    harness.watch.scan()

    assert harness.states() == {"a.wav": State.READY}
    assert harness.rows()["a.wav"]["duration_s"] == 10.0


def test_a_growing_file_is_left_alone(harness: Harness):
    for size in range(1, 6):
        harness.inbox.put("a.wav", size=size)
        harness.watch.scan()
        harness.clock.advance(3.0)

    assert harness.states() == {"a.wav": State.SEEN}
    assert harness.watch.unsettled == 1


def test_a_file_that_is_still_open_for_writing_is_left_alone(harness: Harness):
    file = harness.inbox.put("a.wav")
    harness.files.being_written.add(file.path)
    harness.settle()

    assert harness.rows()["a.wav"]["reason"] == REASON_WRITER
    harness.files.being_written.clear()
    harness.settle()
    assert harness.states() == {"a.wav": State.READY}


def test_an_unchanged_file_still_waits_for_its_sentinel(harness: Harness):
    harness.sentinel = ".ready"
    harness.watch = harness.new_watch()
    file = harness.inbox.put("a.wav")
    harness.inbox.awaiting_sentinel.add(file.path)
    harness.settle()
    harness.settle()

    assert harness.states() == {"a.wav": State.SEEN}
    assert "waiting for the .ready file" in harness.rows()["a.wav"]["reason"]
    # it delays neither a drain nor the next scan
    assert (harness.watch.unsettled, harness.watch.next_s()) == (0, None)
    harness.inbox.awaiting_sentinel.clear()
    harness.watch.scan()
    assert harness.states() == {"a.wav": State.SEEN}  # it must settle, too
    harness.settle()
    assert harness.states() == {"a.wav": State.READY}


def test_an_empty_file_waits_with_a_reason_and_fails_after_an_hour(harness: Harness):
    modified_ns = int(harness.clock.now().timestamp() * 1e9)
    harness.inbox.put("a.wav", size=0, modified_ns=modified_ns)
    harness.settle()
    assert (harness.states()["a.wav"], harness.rows()["a.wav"]["reason"]) == (
        State.SEEN,
        REASON_EMPTY,
    )
    assert harness.watch.unsettled == 0

    harness.clock.advance(3601)
    harness.watch.scan()

    assert harness.states() == {"a.wav": State.FAILED}


def test_scan_paths_covers_named_and_settling_files(harness: Harness):
    harness.watch.scan()
    a, b = harness.inbox.put("a.wav"), harness.inbox.put("b.wav")
    assert harness.watch.scan_paths({a.path})
    assert harness.states() == {"a.wav": State.SEEN}

    harness.clock.advance(2.0)
    assert harness.watch.scan_paths({b.path})

    assert harness.states() == {"a.wav": State.READY, "b.wav": State.SEEN}
    assert (harness.watch.unsettled, harness.inbox.n_scans) == (1, 1)


def test_scan_paths_leaves_growing_and_open_files_alone(harness: Harness):
    harness.watch.scan()
    for size in range(1, 4):
        file = harness.inbox.put("a.wav", size=size)
        assert harness.watch.scan_paths({file.path})
        harness.clock.advance(3.0)
    harness.files.being_written.add(file.path)
    assert harness.watch.scan_paths(())
    assert (harness.states(), harness.rows()["a.wav"]["reason"]) == (
        {"a.wav": State.SEEN},
        REASON_WRITER,
    )

    harness.files.being_written.clear()
    for _ in range(2):
        assert harness.watch.scan_paths(())
        harness.clock.advance(2.0)
    assert harness.states() == {"a.wav": State.READY}


def test_a_file_missing_from_scan_paths_is_not_gone(harness: Harness):
    file = harness.inbox.put("a.wav")
    harness.watch.scan()
    harness.inbox.files.clear()
    for _ in range(5):
        assert harness.watch.scan_paths({file.path})

    assert harness.states() == {"a.wav": State.SEEN}


def test_scan_paths_requests_a_full_scan_of_a_replaced_inbox(harness: Harness):
    harness.inbox.put("a.wav")
    harness.watch.scan()
    harness.inbox.identity = (1, 2)

    assert not harness.watch.scan_paths(())
    harness.inbox.problem = "unmounted"
    assert not harness.watch.scan_paths(())
    harness.watch.scan()
    assert harness.watch.scan_paths(())  # unavailable and no path given: nothing to do


def test_a_settling_file_settles_after_a_restart(harness: Harness):
    harness.inbox.put("a.wav")
    harness.watch.scan()
    harness.watch = harness.new_watch()
    harness.settle()

    assert harness.states() == {"a.wav": State.READY}


def test_a_file_is_gone_after_two_full_scans_without_it(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.files.clear()
    harness.watch.scan()
    assert harness.states() == {"a.wav": State.READY}
    harness.watch.scan()

    assert harness.states() == {"a.wav": State.GONE}


def test_no_file_is_gone_while_the_inbox_is_unavailable(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.problem = "unmounted"
    for _ in range(5):
        harness.watch.scan()

    assert harness.states() == {"a.wav": State.READY}


def test_an_empty_mount_point_is_not_an_inbox_without_files(harness: Harness):
    file = harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.files.clear()
    harness.inbox.identity = (2, 7)
    harness.watch = harness.new_watch()  # also if it was unmounted while the program was stopped
    for _ in range(5):
        harness.watch.scan()
    assert harness.watch.is_unavailable
    assert "mounted" in str(harness.watch.last.problem)
    assert harness.states() == {"a.wav": State.READY}

    harness.inbox.files["a.wav"] = file
    harness.inbox.identity = (1, 1)
    harness.watch.scan()
    assert not harness.watch.is_unavailable
    assert harness.states() == {"a.wav": State.READY}


def test_a_share_remounted_under_another_device_number_is_the_same_inbox(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.identity = (2, 1)
    harness.watch.scan()

    assert not harness.watch.is_unavailable


def test_a_replaced_inbox_folder_makes_no_file_gone_and_is_watched(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.files.clear()
    harness.inbox.identity = (1, 2)
    for _ in range(5):
        harness.watch.scan()
    harness.inbox.put("b.wav")
    harness.settle()
    assert harness.states() == {"a.wav": State.READY, "b.wav": State.READY}

    harness.inbox.files.clear()
    harness.watch.scan()
    harness.watch.scan()
    assert harness.states() == {"a.wav": State.READY, "b.wav": State.GONE}


def test_a_file_that_comes_back_is_seen_again(harness: Harness):
    file = harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.files.clear()
    harness.watch.scan()
    harness.watch.scan()
    harness.inbox.files["a.wav"] = file
    harness.settle()

    assert harness.states() == {"a.wav": State.READY}


def test_a_refused_entry_has_a_row_and_can_become_a_file(harness: Harness):
    path = harness.inbox.root / "a.wav"
    harness.inbox.refused = (RefusedEntry(harness.inbox.root, path, "a symbolic link"),)
    harness.watch.scan()
    assert harness.rows()["a.wav"]["reason"] == "a symbolic link"
    assert harness.states() == {"a.wav": State.REFUSED}

    harness.inbox.refused = ()
    harness.inbox.put("a.wav")
    harness.settle()

    assert harness.states() == {"a.wav": State.READY}


@pytest.mark.parametrize("n_scans", [1, 5])
def test_scanning_an_unchanged_inbox_writes_nothing(harness: Harness, n_scans: int):
    harness.inbox.put("a.wav")
    harness.settle()
    before = harness.rows()["a.wav"]
    for _ in range(n_scans):
        harness.clock.advance(60)
        harness.watch.scan()

    assert harness.rows()["a.wav"] == before
