"""One look after the other."""

from __future__ import annotations

import pytest

from tests.application.conftest import House
from thoth_watch.application.watch_inbox import REASON_EMPTY, REASON_WRITER
from thoth_watch.domain.audio import RefusedEntry
from thoth_watch.domain.states import State


def test_a_new_file_has_a_row_at_once_and_is_ready_when_it_is_settled(house: House):
    house.inbox.put("a.wav")
    house.watch.tick()
    assert house.states() == {"a.wav": State.SEEN}

    house.clock.advance(2.0)
    house.watch.tick()

    assert house.states() == {"a.wav": State.READY}
    assert house.rows()["a.wav"]["duration_s"] == 10.0


def test_a_growing_file_is_left_alone(house: House):
    for size in range(1, 6):
        house.inbox.put("a.wav", size=size)
        house.watch.tick()
        house.clock.advance(3.0)

    assert house.states() == {"a.wav": State.SEEN}
    assert house.watch.unsettled == 1


def test_a_file_that_is_still_open_for_writing_is_left_alone(house: House):
    file = house.inbox.put("a.wav")
    house.files.being_written.add(file.path)
    house.settle()

    assert house.rows()["a.wav"]["reason"] == REASON_WRITER
    house.files.being_written.clear()
    house.settle()
    assert house.states() == {"a.wav": State.READY}


def test_a_file_waits_for_its_sentinel_however_quiet_it_is(house: House):
    house.sentinel = ".ready"
    house.watch = house.new_watch()
    file = house.inbox.put("a.wav")
    house.inbox.unannounced.add(file.path)
    house.settle()
    house.settle()

    assert house.states() == {"a.wav": State.SEEN}
    assert "no .ready of its name beside it" in house.rows()["a.wav"]["reason"]
    assert (house.watch.unsettled, house.watch.next_s()) == (0, None)  # nobody waits for it
    house.inbox.unannounced.clear()
    house.watch.tick()
    assert house.states() == {"a.wav": State.SEEN}  # it must be quiet, too
    house.settle()
    assert house.states() == {"a.wav": State.READY}


def test_an_empty_file_waits_with_its_reason_and_is_given_up_after_an_hour(house: House):
    modified_ns = int(house.clock.now().timestamp() * 1e9)
    house.inbox.put("a.wav", size=0, modified_ns=modified_ns)
    house.settle()
    assert (house.states()["a.wav"], house.rows()["a.wav"]["reason"]) == (State.SEEN, REASON_EMPTY)
    assert house.watch.unsettled == 0

    house.clock.advance(3601)
    house.watch.tick()

    assert house.states() == {"a.wav": State.FAILED}


def test_a_glance_takes_up_what_was_named_and_what_settles(house: House):
    house.watch.tick()
    a, b = house.inbox.put("a.wav"), house.inbox.put("b.wav")
    assert house.watch.glance({a.path})
    assert house.states() == {"a.wav": State.SEEN}

    house.clock.advance(2.0)
    assert house.watch.glance({b.path})

    assert house.states() == {"a.wav": State.READY, "b.wav": State.SEEN}
    assert (house.watch.unsettled, house.inbox.n_looks) == (1, 1)


def test_a_glance_leaves_a_growing_file_and_one_that_is_being_written(house: House):
    house.watch.tick()
    for size in range(1, 4):
        file = house.inbox.put("a.wav", size=size)
        assert house.watch.glance({file.path})
        house.clock.advance(3.0)
    house.files.being_written.add(file.path)
    assert house.watch.glance(())
    assert (house.states(), house.rows()["a.wav"]["reason"]) == (
        {"a.wav": State.SEEN},
        REASON_WRITER,
    )

    house.files.being_written.clear()
    for _ in range(2):
        assert house.watch.glance(())
        house.clock.advance(2.0)
    assert house.states() == {"a.wav": State.READY}


def test_what_a_glance_misses_is_not_gone(house: House):
    file = house.inbox.put("a.wav")
    house.watch.tick()
    house.inbox.files.clear()
    for _ in range(5):
        assert house.watch.glance({file.path})

    assert house.states() == {"a.wav": State.SEEN}


def test_a_glance_cannot_tell_of_an_inbox_whose_place_another_folder_took(house: House):
    house.inbox.put("a.wav")
    house.watch.tick()
    house.inbox.identity = (1, 2)

    assert not house.watch.glance(())
    house.inbox.problem = "unmounted"
    assert not house.watch.glance(())
    house.watch.tick()
    assert house.watch.glance(())  # away, and nothing was named: nothing to be told


def test_what_waited_before_a_restart_still_waits_after_it(house: House):
    house.inbox.put("a.wav")
    house.watch.tick()
    house.watch = house.new_watch()
    house.settle()

    assert house.states() == {"a.wav": State.READY}


def test_a_file_is_gone_after_two_whole_looks_without_it(house: House):
    house.inbox.put("a.wav")
    house.settle()
    house.inbox.files.clear()
    house.watch.tick()
    assert house.states() == {"a.wav": State.READY}
    house.watch.tick()

    assert house.states() == {"a.wav": State.GONE}


def test_an_inbox_that_is_away_makes_nothing_gone(house: House):
    house.inbox.put("a.wav")
    house.settle()
    house.inbox.problem = "unmounted"
    for _ in range(5):
        house.watch.tick()

    assert house.states() == {"a.wav": State.READY}


def test_an_empty_mount_point_is_not_an_inbox_without_files(house: House):
    file = house.inbox.put("a.wav")
    house.settle()
    house.inbox.files.clear()
    house.inbox.identity = (2, 7)
    house.watch = house.new_watch()  # also where it was unmounted while the program was not there
    for _ in range(5):
        house.watch.tick()
    assert house.watch.is_away
    assert "mounted" in str(house.watch.last.problem)
    assert house.states() == {"a.wav": State.READY}

    house.inbox.files["a.wav"] = file
    house.inbox.identity = (1, 1)
    house.watch.tick()
    assert not house.watch.is_away
    assert house.states() == {"a.wav": State.READY}


def test_a_share_that_is_mounted_again_under_another_number_is_the_same_inbox(house: House):
    house.inbox.put("a.wav")
    house.settle()
    house.inbox.identity = (2, 1)
    house.watch.tick()

    assert not house.watch.is_away


def test_another_folder_in_its_place_makes_nothing_gone_and_is_watched(house: House):
    house.inbox.put("a.wav")
    house.settle()
    house.inbox.files.clear()
    house.inbox.identity = (1, 2)
    for _ in range(5):
        house.watch.tick()
    house.inbox.put("b.wav")
    house.settle()
    assert house.states() == {"a.wav": State.READY, "b.wav": State.READY}

    house.inbox.files.clear()
    house.watch.tick()
    house.watch.tick()
    assert house.states() == {"a.wav": State.READY, "b.wav": State.GONE}


def test_a_file_that_comes_back_is_seen_again(house: House):
    file = house.inbox.put("a.wav")
    house.settle()
    house.inbox.files.clear()
    house.watch.tick()
    house.watch.tick()
    house.inbox.files["a.wav"] = file
    house.settle()

    assert house.states() == {"a.wav": State.READY}


def test_an_entry_that_is_no_file_has_a_row_and_becomes_one(house: House):
    path = house.inbox.root / "a.wav"
    house.inbox.refused = (RefusedEntry(house.inbox.root, path, "a symbolic link"),)
    house.watch.tick()
    assert house.rows()["a.wav"]["reason"] == "a symbolic link"
    assert house.states() == {"a.wav": State.REFUSED}

    house.inbox.refused = ()
    house.inbox.put("a.wav")
    house.settle()

    assert house.states() == {"a.wav": State.READY}


@pytest.mark.parametrize("looks", [1, 5])
def test_looking_at_an_unchanged_inbox_writes_nothing(house: House, looks: int):
    house.inbox.put("a.wav")
    house.settle()
    before = house.rows()["a.wav"]
    for _ in range(looks):
        house.clock.advance(60)
        house.watch.tick()

    assert house.rows()["a.wav"] == before
