"""When an inbox is looked at as a whole, and when only at what an event names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from tests.application.conftest import House
from tests.fakes import FakeDoorbell
from thoth_watch.application.look_around import LookAround
from thoth_watch.application.pace import PAUSES
from thoth_watch.domain.errors import TryLater
from thoth_watch.domain.states import State


class NamingDoorbell(FakeDoorbell):
    """Names what a test says."""

    named: Collection[Path] | None = None  # what happened before it was there is not known

    def changed(self) -> Collection[Path] | None:
        named, self.named = self.named, ()
        return named


@pytest.fixture
def bell(house: House) -> NamingDoorbell:
    return NamingDoorbell(house.clock)


def around(house: House, bell: NamingDoorbell) -> LookAround:
    return LookAround([house.watch], doorbell=bell, clock=house.clock, rescan_s=60.0)


def test_the_whole_is_seen_at_first_and_then_by_the_clock_alone(house: House, bell: NamingDoorbell):
    looks = around(house, bell)
    assert looks.look()
    house.inbox.put("a.wav")

    assert not looks.look()
    assert house.states() == {}
    assert looks.next_s() == house.clock.monotonic_s() + 60.0
    house.clock.advance(60.0)
    assert looks.look()
    assert house.states() == {"a.wav": State.SEEN}


def test_a_named_recording_is_ready_without_another_look_at_the_whole(
    house: House, bell: NamingDoorbell
):
    looks = around(house, bell)
    looks.look()
    bell.named = {house.inbox.put("a.wav").path, Path("/elsewhere/b.wav")}
    looks.look()
    assert looks.next_s() == house.clock.monotonic_s() + 2.0
    house.clock.advance(2.0)
    looks.look()

    assert house.states() == {"a.wav": State.READY}
    assert house.inbox.n_looks == 1


def test_the_whole_is_seen_where_an_event_cannot_say_what_changed(
    house: House, bell: NamingDoorbell
):
    looks = around(house, bell)
    looks.look()
    house.inbox.put("a.wav")
    bell.named = None

    assert looks.look()
    assert house.states() == {"a.wav": State.SEEN}


def test_the_whole_is_seen_where_another_folder_took_the_inboxs_place(
    house: House, bell: NamingDoorbell
):
    looks = around(house, bell)
    looks.look()
    house.inbox.identity = (1, 2)
    bell.named = {house.inbox.put("a.wav").path}

    assert not looks.look()
    assert looks.look()
    assert house.states() == {"a.wav": State.SEEN}


def test_a_huge_inbox_costs_a_fifth_of_the_time_and_does_not_keep_a_named_one_waiting(
    house: House, bell: NamingDoorbell, monkeypatch: pytest.MonkeyPatch
):
    looks, look = around(house, bell), house.inbox.look
    monkeypatch.setattr(house.inbox, "look", lambda: (house.clock.advance(3.0), look())[1])
    looks.look()
    bell.named = None
    assert not looks.look()  # not so soon
    assert looks.next_s() == house.clock.monotonic_s() + PAUSES * 3.0
    bell.named = {house.inbox.put("a.wav").path}
    assert not looks.look()
    assert house.states() == {"a.wav": State.SEEN}

    house.clock.advance(PAUSES * 3.0)
    assert looks.look()


def test_reading_a_header_slowly_keeps_no_other_recording_waiting(
    house: House, bell: NamingDoorbell, monkeypatch: pytest.MonkeyPatch
):
    looks, probe = around(house, bell), house.decoder.probe
    monkeypatch.setattr(
        house.decoder, "probe", lambda file: (house.clock.advance(3.0), probe(file))[1]
    )
    looks.look()
    bell.named = {house.inbox.put("a.wav").path}
    looks.look()
    house.clock.advance(2.0)
    looks.look()
    bell.named = {house.inbox.put("b.wav").path}
    looks.look()

    assert house.states() == {"a.wav": State.READY, "b.wav": State.SEEN}


def test_what_could_not_be_recorded_is_made_up_for_by_a_look_at_the_whole(
    house: House, bell: NamingDoorbell, monkeypatch: pytest.MonkeyPatch
):
    def full(**_: object) -> None:
        raise TryLater("ledger: the disk is full")

    looks = around(house, bell)
    looks.look()
    bell.named = {house.inbox.put("a.wav").path}
    with monkeypatch.context() as patch:
        patch.setattr(house.ledger, "record_listing", full)
        with pytest.raises(TryLater):
            looks.look()

    assert looks.look()
    assert house.states() == {"a.wav": State.SEEN}


def test_a_drain_waits_no_longer_than_it_must_for_a_writer_that_ends(
    house: House, bell: NamingDoorbell
):
    file = house.inbox.put("a.wav")
    house.files.being_written.add(file.path)

    def written_in_time() -> bool:
        if house.clock.seconds >= 7.0:
            house.files.being_written.clear()
        return False

    house.serve(until=written_in_time, doorbell=bell)

    assert house.states() == {"a.wav": State.DONE}
    assert house.clock.seconds < 12.0


def test_a_drain_sees_the_whole_once_more_before_it_ends(house: House, bell: NamingDoorbell):
    def put_after_the_first_batch() -> bool:
        if house.batches and "late.wav" not in house.inbox.files:
            house.inbox.put("late.wav")  # and nobody rings
        return False

    house.inbox.put("a.wav")
    house.serve(until=put_after_the_first_batch, doorbell=bell)

    assert house.states() == {"a.wav": State.DONE, "late.wav": State.DONE}
    assert house.inbox.n_looks == 3  # at first, then late.wav, then nothing


def test_the_loop_takes_up_what_is_named_long_before_it_looks_again(
    house: House, bell: NamingDoorbell
):
    def done_or_too_late() -> bool:
        if house.clock.seconds >= 1.0 and not house.inbox.files:
            bell.named = {house.inbox.put("a.wav").path}
        return house.states() == {"a.wav": State.DONE} or house.clock.seconds > 100

    bell.wait = lambda timeout_s: bool(house.clock.advance(min(timeout_s, 1.0)))  # type: ignore[method-assign]
    house.serve(drain=False, until=done_or_too_late, doorbell=bell)

    assert house.states() == {"a.wav": State.DONE}
    assert house.clock.seconds < 10.0
