"""Recordings that are done go where the configuration wants them, with their rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.application.conftest import House
from tests.fakes import FakeMover
from thoth_watch.application.move_finished import AT_ONCE, TRY_AGAIN_S, MoveFinished
from thoth_watch.domain.errors import FileGone, NotAudio, TryLater
from thoth_watch.domain.states import State

ARCHIVE = Path("/archive")


@pytest.fixture
def mover(house: House) -> FakeMover:
    """The house moves what is done into an archive."""
    made = FakeMover(house.inbox)
    house.tidy = new_tidy(house, made)
    return made


def new_tidy(house: House, mover: FakeMover) -> Callable[[], bool]:
    return MoveFinished(house.watch, ARCHIVE, ledger=house.ledger, mover=mover, clock=house.clock)


def where(house: House) -> dict[str, str]:
    return {str(row["path"]): str(row["state"]) for row in house.rows().values()}


def test_what_is_done_is_moved_to_its_place_and_stays_done(house: House, mover: FakeMover):
    for name in ("a.wav", "deep/er/b.wav"):
        house.inbox.put(name)
    house.serve()

    assert where(house) == {"/archive/a.wav": "DONE", "/archive/deep/er/b.wav": "DONE"}
    assert house.inbox.files == {}
    assert set(house.publisher.disk) == {Path("/inbox/a.txt"), Path("/inbox/deep/er/b.txt")}
    house.watch = house.new_watch()
    house.serve()
    assert where(house) == {"/archive/a.wav": "DONE", "/archive/deep/er/b.wav": "DONE"}


def test_what_is_not_done_stays(house: House, mover: FakeMover):
    for name in ("bad.wav", "conflict.wav"):
        house.inbox.put(name)
    house.decoder.bad["bad.wav"] = NotAudio("text, not sound")
    house.publisher.foreign[Path("/inbox/conflict.txt")] = b"theirs"
    house.serve()

    assert where(house) == {"/inbox/bad.wav": "RETRY", "/inbox/conflict.wav": "CONFLICT"}
    assert mover.there == {}


def test_a_name_that_comes_again_is_another_recording_and_keeps_the_first_ones_transcript(
    house: House, mover: FakeMover
):
    for number in range(4):
        house.inbox.put("a.wav", size=100 + number)
        house.decoder.same_sound["a.wav"] = "same words" if number > 1 else f"{number} words"
        house.serve()

    assert set(house.states().values()) == {State.DONE}
    assert len(mover.there) == 4
    texts = {path.name: text.decode() for path, text in house.publisher.disk.items()}
    assert texts["a.txt"] == "0 words"
    assert texts["a.wav.txt"] == "1 words"
    assert sorted(texts.values()) == ["0 words", "1 words", "same words", "same words"]


def test_a_move_that_was_killed_before_it_was_noted_is_noted_at_the_next_start(
    house: House, mover: FakeMover
):
    house.inbox.put("a.wav")
    recorded = house.ledger.record_moved

    def killed(*_, **__):
        raise KeyboardInterrupt

    house.ledger.record_moved = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        house.serve()
    assert where(house) == {"/inbox/a.wav": "DONE"}
    assert list(mover.there) == [ARCHIVE / "a.wav"]

    house.ledger.record_moved = recorded  # type: ignore[method-assign]
    house.inbox.put("a.wav", size=200)  # the next recording of that name is there already
    house.watch = house.new_watch()
    house.tidy = new_tidy(house, mover)
    house.serve()

    assert set(where(house).values()) == {"DONE"}
    assert set(where(house)) == {str(path) for path in mover.there}
    assert len(house.publisher.disk) == 2


def test_a_full_ledger_does_not_lose_where_a_recording_went(house: House, mover: FakeMover):
    house.inbox.put("a.wav")
    recorded, failures = house.ledger.record_moved, [1, 1]

    def sometimes_full(*arguments, **named):
        if failures:
            failures.pop()
            raise TryLater("ledger: the disk is full")
        return recorded(*arguments, **named)

    house.ledger.record_moved = sometimes_full  # type: ignore[method-assign]
    house.serve(drain=False, until=lambda: where(house) == {"/archive/a.wav": "DONE"})

    assert house.states() == {"a.wav": State.DONE}


def test_one_that_cannot_be_moved_stays_done_where_it_is_and_is_tried_again(
    house: House, mover: FakeMover
):
    house.inbox.put("a.wav")
    mover.error = TryLater("archive: the disk is full")
    house.serve()
    assert where(house) == {"/inbox/a.wav": "DONE"}
    assert mover.n_calls == 1

    mover.error = None
    house.serve()
    assert where(house) == {"/inbox/a.wav": "DONE"}
    house.clock.advance(TRY_AGAIN_S)
    house.serve()
    assert where(house) == {"/archive/a.wav": "DONE"}


def test_one_that_a_person_took_away_meanwhile_is_gone(house: House, mover: FakeMover):
    house.inbox.put("a.wav")
    house.serve()  # moved
    house.inbox.put("b.wav")
    mover.error = FileGone("not there")
    house.serve()
    house.inbox.files.clear()
    house.watch.tick()
    house.watch.tick()

    assert where(house) == {"/archive/a.wav": "DONE", "/inbox/b.wav": "GONE"}


def test_many_are_moved_in_portions_and_a_drain_waits_for_all(house: House, mover: FakeMover):
    for number in range(AT_ONCE + 3):
        house.inbox.put(f"{number}.wav")
    house.serve()

    assert len(mover.there) == AT_ONCE + 3
