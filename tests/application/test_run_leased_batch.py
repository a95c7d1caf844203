"""Leased batches and known results, on a real ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.application.conftest import Harness
from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.known_results import KnownResults
from thoth_watch.application.ports.dispatch import LeaseTerms
from thoth_watch.application.ports.ledger import Claim, StoredResult
from thoth_watch.application.run_leased_batch import RunLeasedBatch
from thoth_watch.application.transcribe_batch import BatchOptions, TranscribeBatch
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.states import State

pytestmark = pytest.mark.database("leases are shared by processes and expire by its clock")


@dataclass
class FakeKeeper:
    """Records the held batches; a test can mark the lease as lost."""

    is_lost: bool = False
    held: list[int] = field(default_factory=list)

    @contextmanager
    def hold(self, batch_id: int) -> Iterator[Callable[[], bool]]:
        self.held.append(batch_id)
        yield lambda: self.is_lost


@dataclass
class FakeCache:
    """A cache in a dictionary."""

    kept: dict[tuple[str, str], StoredResult] = field(default_factory=dict)

    def find(self, sha256: str, fingerprint: str) -> StoredResult | None:
        return self.kept.get((sha256, fingerprint))

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        self.kept[sha256, fingerprint] = result


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


def new_worker(
    harness: Harness, keeper: FakeKeeper, *, cache: FakeCache | None = None
) -> RunLeasedBatch:
    transcribe = TranscribeBatch(
        runs=harness.ledger,
        known=KnownResults(harness.ledger, leases=harness.ledger, cache=cache),
        reader=RecordingReader(harness.decoder, harness.voice),
        engines=harness.engines,
        publish=harness.publish_unchanged,
        clock=harness.clock,
        progress=harness.progress,
        options=BatchOptions(host="there", provenance={}, peak_rss_bytes=lambda: 1),
    )
    return RunLeasedBatch(
        ledger=harness.ledger,
        leases=harness.ledger,
        keeper=keeper,
        transcribe=transcribe,
        resolve_file_options=harness.resolve_file_options,
        with_local_device_number=lambda file: file,
        clock=harness.clock,
        terms=LeaseTerms(owner="w", lease_s=90.0),
    )


def send_batch(harness: Harness, *names: str) -> Claim:
    """Claim and send a batch of these files."""
    for name in names:
        harness.inbox.put(name)
    harness.settle()
    waiting = [
        w for w in harness.ledger.waiting(harness.resolve_file_options) if w.file.path.name in names
    ]
    claim = harness.ledger.claim(Batch(tuple(waiting)), owner="d", now=harness.clock.now())
    assert claim is not None
    harness.ledger.send([claim.batch_id])
    return claim


def test_a_batch_runs_once_under_a_lease(harness: Harness, keeper: FakeKeeper) -> None:
    claim = send_batch(harness, "a.wav", "b.wav")
    run_leased_batch = new_worker(harness, keeper)
    assert run_leased_batch(claim.batch_id)
    assert harness.states() == {"a.wav": State.DONE, "b.wav": State.DONE}
    assert not run_leased_batch(claim.batch_id)
    assert keeper.held == [claim.batch_id]
    assert len(harness.runs()) == 1


def test_a_worker_that_lost_its_lease_stops_and_records_nothing_more(
    harness: Harness, keeper: FakeKeeper
) -> None:
    keeper.is_lost = True
    assert new_worker(harness, keeper)(send_batch(harness, "a.wav").batch_id)
    assert harness.states() == {"a.wav": State.READY}
    assert harness.engines.fake.transcribed == []


def test_a_batch_is_released_when_the_ledger_is_reachable_again(
    harness: Harness, keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = harness.ledger.release
    times_away = 3

    def away(*_: object, **__: object) -> None:
        raise RetryLater("away")

    def release_later(claim: Claim, **facts: object) -> int:
        nonlocal times_away
        times_away -= 1
        if times_away > 0:
            raise RetryLater("still away")
        return release(claim, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(harness.ledger, "record_results", away)
    monkeypatch.setattr(harness.ledger, "record_failure", away)
    monkeypatch.setattr(harness.ledger, "release", release_later)
    with pytest.raises(RetryLater):
        new_worker(harness, keeper)(send_batch(harness, "a.wav").batch_id)
    (waiting,) = harness.ledger.waiting(harness.resolve_file_options)
    assert (waiting.deaths, waiting.attempts) == (0, 0)


def test_audio_that_another_worker_transcribes_is_retried_and_its_result_reused(
    harness: Harness, keeper: FakeKeeper
) -> None:
    harness.decoder.same_audio = {"b.wav": "a.wav"}
    first, second = send_batch(harness, "a.wav"), send_batch(harness, "b.wav")
    held = harness.ledger.lease(
        first.batch_id, owner="x", lease_s=90, resolve_file_options=harness.resolve_file_options
    )
    assert held is not None
    fingerprint = "fake-1:auto:transcribe:vad-auto"
    assert harness.ledger.may_transcribe(held, f"{'a.wav':0<64}", fingerprint)
    run_leased_batch = new_worker(harness, keeper)
    assert run_leased_batch(second.batch_id)
    assert harness.states()["b.wav"] is State.RETRY
    assert "is being transcribed by another worker" in harness.rows()["b.wav"]["reason"]
    assert harness.rows()["b.wav"]["attempts"] == 0
    assert harness.engines.fake.transcribed == []

    harness.transcribe(replace(held), should_stop=lambda: False)
    harness.clock.advance(60)
    harness.ledger.requeue_due_retries(now=harness.clock.now())
    retried = harness.ledger.claim(
        Batch(tuple(harness.ledger.waiting(harness.resolve_file_options))),
        owner="d",
        now=harness.clock.now(),
    )
    assert retried is not None
    harness.ledger.send([retried.batch_id])
    assert run_leased_batch(retried.batch_id)
    assert harness.engines.fake.transcribed == ["a.wav"]
    assert harness.states() == {"a.wav": State.DONE, "b.wav": State.DONE}


def test_a_cached_result_of_another_machine_is_reused(harness: Harness, keeper: FakeKeeper) -> None:
    cache = FakeCache()
    run_leased_batch = new_worker(harness, keeper, cache=cache)
    assert run_leased_batch(send_batch(harness, "a.wav").batch_id)
    (result,) = cache.kept.values()
    harness.decoder.same_audio = {"b.wav": "b"}
    cache.kept = {(f"{'b':0<64}", fingerprint): result for _, fingerprint in cache.kept}
    assert run_leased_batch(send_batch(harness, "b.wav").batch_id)
    assert harness.engines.fake.transcribed == ["a.wav"]
    assert [text.strip() for text in harness.publisher.disk.values()] == [b"a.wav", b"a.wav"]
    assert len(cache.kept) == 1  # a result from the cache is not stored in it again
