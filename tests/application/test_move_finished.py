"""Finished recordings are moved to the configured folder, together with their rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeMover
from thoth_watch.application.move_finished import MAX_MOVES_PER_CALL, RETRY_DELAY_S, MoveFinished
from thoth_watch.domain.errors import FileGone, NotAudio, RetryLater
from thoth_watch.domain.states import State

ARCHIVE = Path("/archive")


@pytest.fixture
def mover(harness: Harness) -> FakeMover:
    """Make the harness move finished recordings to an archive."""
    fake = FakeMover(harness.inbox)
    harness.move_finished = new_move_finished(harness, fake)
    return fake


def new_move_finished(harness: Harness, mover: FakeMover) -> Callable[[], bool]:
    return MoveFinished(
        harness.watch, ARCHIVE, ledger=harness.ledger, mover=mover, clock=harness.clock
    )


def states_by_path(harness: Harness) -> dict[str, str]:
    return {str(row["path"]): str(row["state"]) for row in harness.rows().values()}


def test_finished_recordings_are_moved_and_stay_done(harness: Harness, mover: FakeMover):
    for name in ("a.wav", "deep/er/b.wav"):
        harness.inbox.put(name)
    harness.serve()

    assert states_by_path(harness) == {"/archive/a.wav": "DONE", "/archive/deep/er/b.wav": "DONE"}
    assert harness.inbox.files == {}
    assert set(harness.publisher.disk) == {Path("/inbox/a.txt"), Path("/inbox/deep/er/b.txt")}
    harness.watch = harness.new_watch()
    harness.serve()
    assert states_by_path(harness) == {"/archive/a.wav": "DONE", "/archive/deep/er/b.wav": "DONE"}


def test_unfinished_recordings_stay_in_the_inbox(harness: Harness, mover: FakeMover):
    for name in ("bad.wav", "conflict.wav"):
        harness.inbox.put(name)
    harness.decoder.bad["bad.wav"] = NotAudio("text, not audio")
    harness.publisher.foreign[Path("/inbox/conflict.txt")] = b"theirs"
    harness.serve()

    assert states_by_path(harness) == {"/inbox/bad.wav": "RETRY", "/inbox/conflict.wav": "CONFLICT"}
    assert mover.moved == {}


def test_a_reused_name_is_a_new_recording_and_keeps_the_earlier_transcript(
    harness: Harness, mover: FakeMover
):
    for number in range(4):
        harness.inbox.put("a.wav", size=100 + number)
        harness.decoder.same_audio["a.wav"] = "same words" if number > 1 else f"{number} words"
        harness.serve()

    assert set(harness.states().values()) == {State.DONE}
    assert len(mover.moved) == 4
    texts = {path.name: text.decode() for path, text in harness.publisher.disk.items()}
    assert texts["a.txt"] == "0 words"
    assert texts["a.wav.txt"] == "1 words"
    assert sorted(texts.values()) == ["0 words", "1 words", "same words", "same words"]


def test_a_move_killed_before_it_was_recorded_is_recorded_at_the_next_start(
    harness: Harness, mover: FakeMover
):
    harness.inbox.put("a.wav")
    recorded = harness.ledger.record_moved

    def killed(*_, **__):
        raise KeyboardInterrupt

    harness.ledger.record_moved = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        harness.serve()
    assert states_by_path(harness) == {"/inbox/a.wav": "DONE"}
    assert list(mover.moved) == [ARCHIVE / "a.wav"]

    harness.ledger.record_moved = recorded  # type: ignore[method-assign]
    harness.inbox.put("a.wav", size=200)  # the next recording of that name has already arrived
    harness.watch = harness.new_watch()
    harness.move_finished = new_move_finished(harness, mover)
    harness.serve()

    assert set(states_by_path(harness).values()) == {"DONE"}
    assert set(states_by_path(harness)) == {str(path) for path in mover.moved}
    assert len(harness.publisher.disk) == 2


def test_a_full_ledger_does_not_lose_the_new_path_of_a_recording(
    harness: Harness, mover: FakeMover
):
    harness.inbox.put("a.wav")
    recorded, failures = harness.ledger.record_moved, [1, 1]

    def sometimes_full(*args, **kwargs):
        if failures:
            failures.pop()
            raise RetryLater("ledger: the disk is full")
        return recorded(*args, **kwargs)

    harness.ledger.record_moved = sometimes_full  # type: ignore[method-assign]
    harness.serve(drain=False, until=lambda: states_by_path(harness) == {"/archive/a.wav": "DONE"})

    assert harness.states() == {"a.wav": State.DONE}


def test_a_recording_that_cannot_be_moved_stays_done_and_is_retried(
    harness: Harness, mover: FakeMover
):
    harness.inbox.put("a.wav")
    mover.error = RetryLater("archive: the disk is full")
    harness.serve()
    assert states_by_path(harness) == {"/inbox/a.wav": "DONE"}
    assert mover.n_calls == 1

    mover.error = None
    harness.serve()
    assert states_by_path(harness) == {"/inbox/a.wav": "DONE"}
    harness.clock.advance(RETRY_DELAY_S)
    harness.serve()
    assert states_by_path(harness) == {"/archive/a.wav": "DONE"}


def test_a_recording_that_a_user_removed_meanwhile_is_gone(harness: Harness, mover: FakeMover):
    harness.inbox.put("a.wav")
    harness.serve()  # moved
    harness.inbox.put("b.wav")
    mover.error = FileGone("not there")
    harness.serve()
    harness.inbox.files.clear()
    harness.watch.scan()
    harness.watch.scan()

    assert states_by_path(harness) == {"/archive/a.wav": "DONE", "/inbox/b.wav": "GONE"}


def test_many_recordings_are_moved_in_portions_and_a_drain_waits_for_all(
    harness: Harness, mover: FakeMover
):
    for number in range(MAX_MOVES_PER_CALL + 3):
        harness.inbox.put(f"{number}.wav")
    harness.serve()

    assert len(mover.moved) == MAX_MOVES_PER_CALL + 3
