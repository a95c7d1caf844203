"""One look after the other."""

from __future__ import annotations

import pytest

from tests.application.conftest import Harness
from thoth_watch.application.watch_inbox import REASON_EMPTY, REASON_WRITER
from thoth_watch.domain.audio import RefusedEntry
from thoth_watch.domain.states import State


def test_a_new_file_has_a_row_at_once_and_is_ready_when_it_is_settled(harness: Harness):
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


def test_a_file_waits_for_its_sentinel_however_quiet_it_is(harness: Harness):
    harness.sentinel = ".ready"
    harness.watch = harness.new_watch()
    file = harness.inbox.put("a.wav")
    harness.inbox.awaiting_sentinel.add(file.path)
    harness.settle()
    harness.settle()

    assert harness.states() == {"a.wav": State.SEEN}
    assert "no .ready of its name beside it" in harness.rows()["a.wav"]["reason"]
    assert (harness.watch.unsettled, harness.watch.next_s()) == (0, None)  # nobody waits for it
    harness.inbox.awaiting_sentinel.clear()
    harness.watch.scan()
    assert harness.states() == {"a.wav": State.SEEN}  # it must be quiet, too
    harness.settle()
    assert harness.states() == {"a.wav": State.READY}


def test_an_empty_file_waits_with_its_reason_and_is_given_up_after_an_hour(harness: Harness):
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


def test_a_glance_takes_up_what_was_named_and_what_settles(harness: Harness):
    harness.watch.scan()
    a, b = harness.inbox.put("a.wav"), harness.inbox.put("b.wav")
    assert harness.watch.scan_paths({a.path})
    assert harness.states() == {"a.wav": State.SEEN}

    harness.clock.advance(2.0)
    assert harness.watch.scan_paths({b.path})

    assert harness.states() == {"a.wav": State.READY, "b.wav": State.SEEN}
    assert (harness.watch.unsettled, harness.inbox.n_scans) == (1, 1)


def test_a_glance_leaves_a_growing_file_and_one_that_is_being_written(harness: Harness):
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


def test_what_a_glance_misses_is_not_gone(harness: Harness):
    file = harness.inbox.put("a.wav")
    harness.watch.scan()
    harness.inbox.files.clear()
    for _ in range(5):
        assert harness.watch.scan_paths({file.path})

    assert harness.states() == {"a.wav": State.SEEN}


def test_a_glance_cannot_tell_of_an_inbox_whose_place_another_folder_took(harness: Harness):
    harness.inbox.put("a.wav")
    harness.watch.scan()
    harness.inbox.identity = (1, 2)

    assert not harness.watch.scan_paths(())
    harness.inbox.problem = "unmounted"
    assert not harness.watch.scan_paths(())
    harness.watch.scan()
    assert harness.watch.scan_paths(())  # away, and nothing was named: nothing to be told


def test_what_waited_before_a_restart_still_waits_after_it(harness: Harness):
    harness.inbox.put("a.wav")
    harness.watch.scan()
    harness.watch = harness.new_watch()
    harness.settle()

    assert harness.states() == {"a.wav": State.READY}


def test_a_file_is_gone_after_two_whole_looks_without_it(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.files.clear()
    harness.watch.scan()
    assert harness.states() == {"a.wav": State.READY}
    harness.watch.scan()

    assert harness.states() == {"a.wav": State.GONE}


def test_an_inbox_that_is_away_makes_nothing_gone(harness: Harness):
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
    harness.watch = (
        harness.new_watch()
    )  # also where it was unmounted while the program was not there
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


def test_a_share_that_is_mounted_again_under_another_number_is_the_same_inbox(harness: Harness):
    harness.inbox.put("a.wav")
    harness.settle()
    harness.inbox.identity = (2, 1)
    harness.watch.scan()

    assert not harness.watch.is_unavailable


def test_another_folder_in_its_place_makes_nothing_gone_and_is_watched(harness: Harness):
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


def test_an_entry_that_is_no_file_has_a_row_and_becomes_one(harness: Harness):
    path = harness.inbox.root / "a.wav"
    harness.inbox.refused = (RefusedEntry(harness.inbox.root, path, "a symbolic link"),)
    harness.watch.scan()
    assert harness.rows()["a.wav"]["reason"] == "a symbolic link"
    assert harness.states() == {"a.wav": State.REFUSED}

    harness.inbox.refused = ()
    harness.inbox.put("a.wav")
    harness.settle()

    assert harness.states() == {"a.wav": State.READY}


@pytest.mark.parametrize("looks", [1, 5])
def test_looking_at_an_unchanged_inbox_writes_nothing(harness: Harness, looks: int):
    harness.inbox.put("a.wav")
    harness.settle()
    before = harness.rows()["a.wav"]
    for _ in range(looks):
        harness.clock.advance(60)
        harness.watch.scan()

    assert harness.rows()["a.wav"] == before
