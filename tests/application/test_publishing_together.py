"""Files that finish together are recorded together, and end as they would one by one."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.application.conftest import House
from tests.fakes import INBOX
from thoth_watch.application.destination import Destination
from thoth_watch.application.ports import Recording, StoredResult
from thoth_watch.application.publish_transcript import NewTranscript
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import TryLater
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Segment, Transcript


class Group:
    """Some files, claimed, and transcripts of theirs."""

    def __init__(self, house: House, *names: str) -> None:
        self.house = house
        for name in names:
            house.inbox.put(name)
        house.settle()
        waiting = house.ledger.waiting(house.treatment_of)
        claim = house.ledger.claim(Batch(tuple(waiting)), owner="me", now=house.clock.now())
        assert claim is not None
        self.claim = claim
        self.run_id = house.ledger.open_run(
            claim,
            asked=house.engines.asked,
            placement=house.engines.fake.placement,
            now=house.clock.now(),
        )

    def new(self, item) -> NewTranscript:
        sound = self.house.decoder.decode(item.file)
        assert isinstance(sound, Recording)
        transcript = Transcript((Segment(0.0, 10.0, f" {item.file.path.name}"),), "en", 10.0)
        return NewTranscript(
            Destination(item, sound.sha256, claim_no=self.claim.claim_no),
            fingerprint="f",
            result=StoredResult(transcript, {}),
            reused=False,
        )

    def publish(self):
        items = [self.new(item) for item in self.claim.batch.files]
        return self.house.publish.new(items, claim=self.claim, run_id=self.run_id)


def texts(house: House) -> dict[str, str]:
    return {path.name: content.decode() for path, content in house.publisher.disk.items()}


def test_many_files_take_two_transactions(house: House):
    group = Group(house, *(f"{n}.wav" for n in range(30)))
    writes: list[int] = []
    writing = house.ledger._writing

    @contextmanager
    def counted():
        writes.append(1)
        with writing() as connection:
            yield connection

    house.ledger._writing = counted  # type: ignore[method-assign]
    group.publish()

    assert len(writes) == 2
    assert set(house.states().values()) == {State.DONE}
    assert texts(house) == {f"{n}.txt": f"{n}.wav" for n in range(30)}


def test_two_recordings_of_one_stem_get_names_of_their_own(house: House):
    outcomes = Group(house, "a.wav", "a.mp3", "b.wav").publish()

    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert sorted(texts(house).values()) == ["a.mp3", "a.wav", "b.wav"]
    assert len(texts(house)) == 3


def test_a_foreign_file_is_left_alone_and_harms_no_other_transcript(house: House):
    house.publisher.foreign[INBOX / "a.txt"] = b"theirs"
    house.publisher.taken_late.add(INBOX / "b.txt")
    Group(house, "a.wav", "b.wav", "c.wav").publish()

    states = house.states()
    assert (states["a.wav"], states["b.wav"], states["c.wav"]) == (
        State.CONFLICT,
        State.CONFLICT,
        State.DONE,
    )
    assert sorted(texts(house).values()) == ["a.wav", "b.wav", "c.wav"]
    assert house.publisher.foreign == {INBOX / "a.txt": b"theirs", INBOX / "b.txt": b"theirs"}


def test_a_file_that_changed_meanwhile_is_fenced_off_and_no_other(house: House):
    group = Group(house, "a.wav", "b.wav")
    house.inbox.put("a.wav", size=200)
    house.watch.tick()
    first, second = group.publish()

    assert first is None
    assert second.state == State.DONE
    assert texts(house) == {"b.txt": "b.wav"}


def test_a_full_disk_is_told_of_each_file(house: House):
    group = Group(house, "a.wav", "b.wav")
    house.publisher.error = TryLater("the disk is full")
    outcomes = group.publish()

    assert [str(outcome) for outcome in outcomes] == ["the disk is full"] * 2
    assert set(house.states().values()) == {State.RESULT}


@pytest.mark.parametrize("n_copies", [2, 40])
def test_copies_of_one_sound_share_one_result(house: House, n_copies: int):
    names = [f"{n}.wav" for n in range(n_copies)]
    house.decoder.same_sound = dict.fromkeys(names, "one sound")
    Group(house, *names).publish()

    assert set(house.states().values()) == {State.DONE}
    with house.ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM results").scalar_one() == 1


def test_a_transcript_of_ours_is_replaced_when_its_recording_changed(house: House):
    Group(house, "a.wav", "b.wav").publish()
    house.inbox.put("a.wav", size=200)
    house.clock.advance(timedelta(hours=1).total_seconds())
    group = Group(house, "c.wav")
    outcomes = group.publish()

    assert {outcome.state for outcome in outcomes} == {State.DONE}
    rows = house.rows()
    assert (rows["a.wav"]["generation"], rows["b.wav"]["generation"]) == (2, 1)
    assert set(texts(house)) == {"a.txt", "b.txt", "c.txt"}
