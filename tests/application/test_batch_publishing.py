"""Publishing several results together gives the same outcomes as publishing them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import INBOX
from thoth_watch.application.output_names import Destination
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.ledger import StoredResult
from thoth_watch.application.publish_transcript import NewTranscript
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Segment, Transcript


class Group:
    """Claimed files, with a transcript for each."""

    def __init__(self, harness: Harness, *names: str) -> None:
        self.harness = harness
        for name in names:
            harness.inbox.put(name)
        harness.settle()
        waiting = harness.ledger.waiting(harness.resolve_file_options)
        claim = harness.ledger.claim(Batch(tuple(waiting)), owner="me", now=harness.clock.now())
        assert claim is not None
        self.claim = claim
        self.run_id = harness.ledger.open_run(
            claim,
            requested=harness.engines.requested,
            placement=harness.engines.fake.placement,
            now=harness.clock.now(),
        )

    def new(self, item) -> NewTranscript:
        recording = self.harness.decoder.decode(item.file)
        assert isinstance(recording, Recording)
        transcript = Transcript((Segment(0.0, 10.0, f" {item.file.path.name}"),), "en", 10.0)
        return NewTranscript(
            Destination(item, recording.sha256, claim_no=self.claim.claim_no),
            fingerprint="f",
            result=StoredResult(transcript, {}),
            reused=False,
        )

    def publish(self):
        items = [self.new(item) for item in self.claim.batch.files]
        return self.harness.publish.new(items, claim=self.claim, run_id=self.run_id)


def texts(harness: Harness) -> dict[str, str]:
    return {path.name: content.decode() for path, content in harness.publisher.disk.items()}


@pytest.mark.database("counts its transactions")
def test_many_files_are_published_in_two_transactions(harness: Harness):
    group = Group(harness, *(f"{n}.wav" for n in range(30)))
    writes: list[int] = []
    write_transaction = harness.ledger.transactions.write

    @contextmanager
    def counted():
        writes.append(1)
        with write_transaction() as connection:
            yield connection

    harness.ledger.transactions.write = counted  # type: ignore[method-assign]
    group.publish()

    assert len(writes) == 2
    assert set(harness.states().values()) == {State.DONE}
    assert texts(harness) == {f"{n}.txt": f"{n}.wav" for n in range(30)}


def test_two_recordings_with_one_stem_get_different_names(harness: Harness):
    outcomes = Group(harness, "a.wav", "a.mp3", "b.wav").publish()

    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert sorted(texts(harness).values()) == ["a.mp3", "a.wav", "b.wav"]
    assert len(texts(harness)) == 3


def test_a_foreign_file_is_kept_and_does_not_affect_other_transcripts(harness: Harness):
    harness.publisher.foreign[INBOX / "a.txt"] = b"theirs"
    harness.publisher.taken_late.add(INBOX / "b.txt")
    Group(harness, "a.wav", "b.wav", "c.wav").publish()

    states = harness.states()
    assert (states["a.wav"], states["b.wav"], states["c.wav"]) == (
        State.CONFLICT,
        State.CONFLICT,
        State.DONE,
    )
    assert sorted(texts(harness).values()) == ["a.wav", "b.wav", "c.wav"]
    assert harness.publisher.foreign == {INBOX / "a.txt": b"theirs", INBOX / "b.txt": b"theirs"}


def test_no_file_is_written_before_its_result_is_recorded(harness: Harness):
    group = Group(harness, "a.wav", "b.wav")

    def full(*_: object, **__: object) -> None:
        raise RetryLater("the disk is full")

    harness.ledger.record_results = full  # type: ignore[method-assign]
    outcomes = group.publish()

    assert [str(outcome) for outcome in outcomes] == ["the disk is full"] * 2
    assert texts(harness) == {}


def test_a_name_that_another_worker_reserved_first_is_replaced_by_the_next_one(harness: Harness):
    Group(harness, "a.wav").publish()
    group = Group(harness, "a.mp3", "b.wav")
    owners_of, lookups = harness.ledger.owners_of, [0]

    def outdated_at_first(paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        lookups[0] += 1
        return {} if lookups[0] == 1 else owners_of(paths)

    harness.ledger.owners_of = outdated_at_first  # type: ignore[method-assign]
    outcomes = group.publish()

    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert texts(harness) == {"a.txt": "a.wav", "a.mp3.txt": "a.mp3", "b.txt": "b.wav"}


def test_only_the_result_of_a_changed_file_is_discarded(harness: Harness):
    group = Group(harness, "a.wav", "b.wav")
    harness.inbox.put("a.wav", size=200)
    harness.watch.scan()
    first, second = group.publish()

    assert first is None
    assert second.state == State.DONE
    assert texts(harness) == {"b.txt": "b.wav"}


def test_a_full_disk_is_reported_for_each_file(harness: Harness):
    group = Group(harness, "a.wav", "b.wav")
    harness.publisher.error = RetryLater("the disk is full")
    outcomes = group.publish()

    assert [str(outcome) for outcome in outcomes] == ["the disk is full"] * 2
    assert set(harness.states().values()) == {State.RESULT}


@pytest.mark.parametrize("n_copies", [2, 40])
def test_files_with_equal_audio_share_one_result(harness: Harness, n_copies: int):
    names = [f"{n}.wav" for n in range(n_copies)]
    harness.decoder.same_audio = dict.fromkeys(names, "equal audio")
    Group(harness, *names).publish()

    assert set(harness.states().values()) == {State.DONE}
    assert harness.count("results") == 1


def test_our_own_transcript_is_replaced_when_its_recording_changed(harness: Harness):
    Group(harness, "a.wav", "b.wav").publish()
    harness.inbox.put("a.wav", size=200)
    harness.clock.advance(timedelta(hours=1).total_seconds())
    group = Group(harness, "c.wav")
    outcomes = group.publish()

    assert {outcome.state for outcome in outcomes} == {State.DONE}
    rows = harness.rows()
    assert (rows["a.wav"]["generation"], rows["b.wav"]["generation"]) == (2, 1)
    assert set(texts(harness)) == {"a.txt", "b.txt", "c.txt"}
