"""What a worker does with a batch's number, and what it knows already, with the ledger real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.application.conftest import House
from thoth_watch.application.carry_out import CarryOut
from thoth_watch.application.known_results import KnownResults
from thoth_watch.application.ports import Claim, StoredResult
from thoth_watch.application.transcribe_batch import TranscribeBatch
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import TryLater
from thoth_watch.domain.states import State


@dataclass
class FakeKeeper:
    """Holds what it is told, and loses it when a test says so."""

    is_lost: bool = False
    held: list[int] = field(default_factory=list)

    @contextmanager
    def holding(self, batch_id: int) -> Iterator[Callable[[], bool]]:
        self.held.append(batch_id)
        yield lambda: self.is_lost


@dataclass
class FakeCache:
    """A dictionary."""

    kept: dict[tuple[str, str], StoredResult] = field(default_factory=dict)

    def find(self, sha256: str, fingerprint: str) -> StoredResult | None:
        return self.kept.get((sha256, fingerprint))

    def keep(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        self.kept[sha256, fingerprint] = result


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


def worker(house: House, keeper: FakeKeeper, *, cache: FakeCache | None = None) -> CarryOut:
    transcribe = TranscribeBatch(
        ledger=house.ledger,
        decoder=house.decoder,
        engines=house.engines,
        publish=house.publish,
        files=house.files,
        clock=house.clock,
        progress=house.progress,
        peak_rss_bytes=lambda: 1,
        host="there",
        provenance={},
        voice=house.voice,
        known=KnownResults(house.ledger, leases=house.ledger, cache=cache),
    )
    return CarryOut(
        ledger=house.ledger,
        leases=house.ledger,
        keeper=keeper,
        transcribe=transcribe,
        treatment_of=house.treatment_of,
        seen_from_here=lambda file: file,
        clock=house.clock,
        sleep=house.clock.advance,
        owner="w",
        lease_s=90.0,
    )


def sent(house: House, *names: str) -> Claim:
    """A batch of these files that is on its way."""
    for name in names:
        house.inbox.put(name)
    house.settle()
    waiting = [w for w in house.ledger.waiting(house.treatment_of) if w.file.path.name in names]
    claim = house.ledger.claim(Batch(tuple(waiting)), owner="d", now=house.clock.now())
    assert claim is not None
    house.ledger.send([claim.batch_id])
    return claim


def test_a_batch_is_carried_out_once_under_a_lease(house: House, keeper: FakeKeeper) -> None:
    claim = sent(house, "a.wav", "b.wav")
    carry_out = worker(house, keeper)
    assert carry_out(claim.batch_id)
    assert house.states() == {"a.wav": State.DONE, "b.wav": State.DONE}
    assert not carry_out(claim.batch_id)
    assert keeper.held == [claim.batch_id]
    assert len(house.runs()) == 1


def test_one_who_has_lost_the_lease_stops_and_records_nothing_more(
    house: House, keeper: FakeKeeper
) -> None:
    keeper.is_lost = True
    assert worker(house, keeper)(sent(house, "a.wav").batch_id)
    assert house.states() == {"a.wav": State.READY}
    assert house.engines.fake.heard == []


def test_where_the_ledger_goes_away_the_batch_is_given_back_when_it_answers(
    house: House, keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = house.ledger.release
    times_away = 3

    def away(*_: object, **__: object) -> None:
        raise TryLater("away")

    def release_later(claim: Claim, **facts: object) -> int:
        nonlocal times_away
        times_away -= 1
        if times_away > 0:
            raise TryLater("still away")
        return release(claim, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(house.ledger, "record_results", away)
    monkeypatch.setattr(house.ledger, "record_failure", away)
    monkeypatch.setattr(house.ledger, "release", release_later)
    with pytest.raises(TryLater):
        worker(house, keeper)(sent(house, "a.wav").batch_id)
    (waiting,) = house.ledger.waiting(house.treatment_of)
    assert (waiting.deaths, waiting.attempts) == (0, 0)


def test_a_sound_that_another_worker_has_is_tried_again_and_found(
    house: House, keeper: FakeKeeper
) -> None:
    house.decoder.same_sound = {"b.wav": "a.wav"}
    first, second = sent(house, "a.wav"), sent(house, "b.wav")
    held = house.ledger.lease(
        first.batch_id, owner="x", lease_s=90, treatment_of=house.treatment_of
    )
    assert held is not None
    fingerprint = "fake-1:auto:transcribe:vad-auto"
    assert house.ledger.may_hear(held, f"{'a.wav':0<64}", fingerprint)
    carry_out = worker(house, keeper)
    assert carry_out(second.batch_id)
    assert house.states()["b.wav"] is State.RETRY
    assert "is being transcribed by another worker" in house.rows()["b.wav"]["reason"]
    assert house.rows()["b.wav"]["attempts"] == 0
    assert house.engines.fake.heard == []

    house.transcribe(replace(held), should_stop=lambda: False)
    house.clock.advance(60)
    house.ledger.wake_retries(now=house.clock.now())
    again = house.ledger.claim(
        Batch(tuple(house.ledger.waiting(house.treatment_of))), owner="d", now=house.clock.now()
    )
    assert again is not None
    house.ledger.send([again.batch_id])
    assert carry_out(again.batch_id)
    assert house.engines.fake.heard == ["a.wav"]
    assert house.states() == {"a.wav": State.DONE, "b.wav": State.DONE}


def test_what_another_machine_has_transcribed_is_not_transcribed_again(
    house: House, keeper: FakeKeeper
) -> None:
    cache = FakeCache()
    carry_out = worker(house, keeper, cache=cache)
    assert carry_out(sent(house, "a.wav").batch_id)
    (result,) = cache.kept.values()
    house.decoder.same_sound = {"b.wav": "b"}
    cache.kept = {(f"{'b':0<64}", fingerprint): result for _, fingerprint in cache.kept}
    assert carry_out(sent(house, "b.wav").batch_id)
    assert house.engines.fake.heard == ["a.wav"]
    assert [text.strip() for text in house.publisher.disk.values()] == [b"a.wav", b"a.wav"]
    assert len(cache.kept) == 1  # what came from there is not put there again
