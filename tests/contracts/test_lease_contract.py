"""The contract of every ledger for remote workers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contracts.test_ledger_contract import (
    INBOX,
    NOW,
    RESULT,
    fail,
    make_claim,
    make_ready,
    open_run,
    publish,
    put_result,
    recording,
    state_of,
    waiting,
)
from thoth_watch.application.ports.dispatch import WorkerInfo
from thoth_watch.application.ports.ledger import Claim, NewResult
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.ledger.reading import LedgerReader

pytestmark = pytest.mark.database("leases are shared by processes and expire by its clock")

LONG_S, EXPIRED_S = 90.0, -1.0  # a lease that has expired from the start saves waiting


def send(ledger: SqlLedger, *names: str) -> Claim:
    claim = make_claim(ledger, *(recording(name) for name in names or ("a.wav",)))
    ledger.send([claim.batch_id])
    return claim


def lease(
    ledger: SqlLedger, batch_id: int, *, owner: str = "w1", lease_s: float = LONG_S
) -> Claim | None:
    return ledger.lease(
        batch_id, owner=owner, lease_s=lease_s, resolve_file_options=lambda _: FileOptions()
    )


def lease_existing(ledger: SqlLedger, batch_id: int, *, lease_s: float = LONG_S) -> Claim:
    claim = lease(ledger, batch_id, lease_s=lease_s)
    assert claim is not None
    return claim


def test_a_sent_batch_is_leased_once_with_all_its_files(ledger: SqlLedger) -> None:
    sent = send(ledger, "a.wav", "b.wav")
    assert lease(ledger, sent.batch_id) == sent
    assert lease(ledger, sent.batch_id, owner="w2") is None
    assert lease(ledger, sent.batch_id) is None


def test_a_batch_that_was_not_sent_cannot_be_leased(ledger: SqlLedger) -> None:
    claim = make_claim(ledger, recording())
    assert lease(ledger, claim.batch_id) is None
    assert lease(ledger, 12345) is None


@pytest.mark.parametrize("is_leased", [False, True])
def test_a_new_dispatcher_leaves_sent_and_leased_batches_alone(
    ledger: SqlLedger, *, is_leased: bool
) -> None:
    sent = send(ledger)
    run_id = open_run(ledger, lease_existing(ledger, sent.batch_id)) if is_leased else None
    assert ledger.recover_claims(now=NOW) == 0
    assert state_of(ledger) is State.CLAIMED
    if run_id is not None:
        assert ledger.renew(sent.batch_id, owner="w1", lease_s=LONG_S)
        assert put_result(ledger, sent)
        assert publish(ledger, sent)


def test_an_expired_lease_is_recovered_and_the_late_worker_is_fenced_off(
    ledger: SqlLedger, url: str
) -> None:
    sent = send(ledger, "a.wav", "b.wav")
    late_claim = lease_existing(ledger, sent.batch_id, lease_s=EXPIRED_S)
    run_id = open_run(ledger, late_claim)
    assert ledger.open_batches().expired == 1
    assert ledger.recover_claims(now=NOW) == 2
    assert [w.deaths for w in waiting(ledger)] == [1, 1]
    assert all(w.is_isolated for w in waiting(ledger))
    assert not ledger.renew(sent.batch_id, owner="w1", lease_s=LONG_S)
    assert not put_result(ledger, late_claim)
    assert not fail(ledger, late_claim, State.FAILED)
    assert ledger.release(late_claim, now=NOW) == 0
    with LedgerReader.open(url) as reader:
        assert reader.run(run_id)["status"] == "INTERRUPTED"

    again = ledger.claim(Batch(tuple(waiting(ledger))[:1]), owner="d", now=NOW)
    ledger.send([again.batch_id])
    assert lease(ledger, again.batch_id, owner="w2") == again
    assert not put_result(ledger, late_claim)
    assert put_result(ledger, again)


def test_only_its_owner_can_renew_a_lease(ledger: SqlLedger) -> None:
    sent = send(ledger)
    lease_existing(ledger, sent.batch_id, lease_s=EXPIRED_S)
    assert not ledger.renew(sent.batch_id, owner="w2", lease_s=LONG_S)
    assert ledger.renew(sent.batch_id, owner="w1", lease_s=LONG_S)
    assert ledger.recover_claims(now=NOW) == 0


def test_a_file_that_kills_its_workers_is_quarantined_at_the_limit(ledger: SqlLedger) -> None:
    ledger.death_limit = 3
    make_ready(ledger, recording())
    for deaths in (1, 2, 3):
        claim = ledger.claim(Batch(tuple(waiting(ledger))), owner="d", now=NOW)
        ledger.send([claim.batch_id])
        lease_existing(ledger, claim.batch_id, lease_s=EXPIRED_S)
        assert ledger.recover_claims(now=NOW) == 1
        assert state_of(ledger) is (State.QUARANTINED if deaths == 3 else State.READY)


def test_a_leased_result_is_published_by_its_worker_and_after_expiry_by_any_process(
    ledger: SqlLedger,
) -> None:
    sent = send(ledger)
    claim = lease_existing(ledger, sent.batch_id, lease_s=EXPIRED_S)
    assert put_result(ledger, claim)
    assert ledger.unpublished(lambda _: FileOptions()) == []
    assert ledger.recover_claims(now=NOW) == 0  # nothing is CLAIMED any more
    (left,) = ledger.unpublished(lambda _: FileOptions())
    assert left.waiting.file == recording()
    assert publish(ledger, claim)


def test_open_batches_counts_sent_and_leased_batches(ledger: SqlLedger) -> None:
    assert ledger.open_batches().count == 0
    first, second = send(ledger, "a.wav"), send(ledger, "b.wav")
    assert [batch_id for batch_id, _ in ledger.open_batches().sent] == [
        first.batch_id,
        second.batch_id,
    ]
    ledger.send([first.batch_id])  # again: it moves to the end of the queue
    assert [batch_id for batch_id, _ in ledger.open_batches().sent] == [
        second.batch_id,
        first.batch_id,
    ]
    leased = lease_existing(ledger, first.batch_id)
    found = ledger.open_batches()
    assert (len(found.sent), found.leased, found.expired, found.count) == (1, 1, 0, 2)
    ledger.release(leased, now=NOW)
    assert ledger.open_batches().count == 1


def test_files_that_changed_after_their_batch_was_sent_are_not_leased(
    ledger: SqlLedger,
) -> None:
    sent = send(ledger, "a.wav", "b.wav")
    ledger.record_listing(
        seen=[(recording("a.wav", version=2), "new")], ready=[], refused=[], gone=[], now=NOW
    )
    claim = lease_existing(ledger, sent.batch_id)
    assert [item.file.path.name for item in claim.batch.files] == ["b.wav"]
    other = send(ledger, "c.wav")
    ledger.record_listing(
        seen=[(recording("c.wav", version=2), "new")], ready=[], refused=[], gone=[], now=NOW
    )
    assert lease(ledger, other.batch_id) is None
    assert ledger.open_batches().count == 1


def test_equal_audio_is_transcribed_by_one_batch_at_a_time(ledger: SqlLedger) -> None:
    first, second = send(ledger, "a.wav"), send(ledger, "b.wav")
    lease_existing(ledger, first.batch_id), lease_existing(ledger, second.batch_id)
    assert ledger.may_transcribe(first, "s1", "f1")
    assert not ledger.may_transcribe(second, "s1", "f1")
    assert not ledger.may_transcribe(first, "s1", "f1")  # another file of the same batch
    assert ledger.may_transcribe(second, "s1", "f2")
    ledger.release(first, now=NOW)
    assert ledger.may_transcribe(second, "s1", "f1")
    assert put_result(ledger, second, sha256="s1")
    # the second has finished; the caller queries the ledger for its result again
    assert ledger.may_transcribe(first, "s1", "f1")


def test_workers_are_counted_while_they_report(ledger: SqlLedger) -> None:
    worker = WorkerInfo("gpu0@here", "here", 7, "cuda:0")
    assert ledger.count_live_workers(within_s=60) == 0
    ledger.record_worker(worker, batch_id=None)
    ledger.record_worker(worker, batch_id=send(ledger).batch_id)
    assert ledger.count_live_workers(within_s=60) == 1
    assert ledger.count_live_workers(within_s=-60) == 0
    ledger.remove_worker(worker.name)
    assert ledger.count_live_workers(within_s=60) == 0


def test_a_race_gives_each_batch_to_exactly_one_worker(ledger: SqlLedger) -> None:
    files = [recording(f"{number}.wav") for number in range(20)]
    ready = make_ready(ledger, *files)
    n_threads = 8

    def claim_all(thread_no: int) -> list[int]:
        won = []
        for item in ready:
            claim = ledger.claim(Batch((item,)), owner=str(thread_no), now=NOW)
            if claim is not None:
                won.append(claim.batch_id)
                ledger.send([claim.batch_id])
        return won

    def lease_all(thread_no: int) -> list[int]:
        return [b for b in batch_ids if lease(ledger, b, owner=str(thread_no)) is not None]

    with ThreadPoolExecutor(n_threads) as threads:
        batch_ids = sorted(b for won in threads.map(claim_all, range(n_threads)) for b in won)
        assert len(batch_ids) == len(set(batch_ids)) == len(files)
        leased = sorted(b for won in threads.map(lease_all, range(n_threads)) for b in won)
    assert leased == batch_ids


def test_one_of_two_concurrent_workers_gets_a_name(ledger: SqlLedger) -> None:
    n_pairs = 12
    names = [f"{number}.{ending}" for number in range(n_pairs) for ending in ("wav", "mp3")]
    ready = {w.file.path.name: w for w in make_ready(ledger, *map(recording, names))}
    barrier = threading.Barrier(2)

    def record_all(ending: str) -> list[int]:
        """Return the numbers of the files whose name it got."""
        won = []
        for number in range(n_pairs):
            batch = Batch((ready[f"{number}.{ending}"],))
            claim = ledger.claim(batch, owner=ending, now=NOW)
            assert claim is not None
            run_id = open_run(ledger, claim)
            wanted = NewResult(
                file_id=batch.files[0].file_id,
                sha256=f"{number}",  # equal audio
                fingerprint="f1",
                result=RESULT,
                names=(("txt", INBOX / f"{number}.txt"),),
                name_kind="stem",
            )
            barrier.wait(60)
            recorded = ledger.record_results(claim, [wanted], run_id=run_id, now=NOW)
            if recorded[wanted.file_id] is not None:
                won.append(number)
        return won

    with ThreadPoolExecutor(2) as threads:
        won = [number for numbers in threads.map(record_all, ("wav", "mp3")) for number in numbers]
    assert sorted(won) == list(range(n_pairs))
