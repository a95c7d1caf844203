"""What every ledger must do for workers elsewhere."""

from __future__ import annotations

import contextlib
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
from thoth_watch.application.ports import Claim, NewResult, WorkerInfo
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import LedgerReader, SqlLedger

LONG_S, OVER_S = 90.0, -1.0  # a lease that is over from the start needs no waiting


def send(ledger: SqlLedger, *names: str) -> Claim:
    claim = make_claim(ledger, *(recording(name) for name in names or ("a.wav",)))
    ledger.send([claim.batch_id])
    return claim


def take(
    ledger: SqlLedger, batch_id: int, *, owner: str = "w1", lease_s: float = LONG_S
) -> Claim | None:
    return ledger.lease(
        batch_id, owner=owner, lease_s=lease_s, resolve_file_options=lambda _: FileOptions()
    )


def take_some(ledger: SqlLedger, batch_id: int, *, lease_s: float = LONG_S) -> Claim:
    claim = take(ledger, batch_id, lease_s=lease_s)
    assert claim is not None
    return claim


def test_a_batch_that_was_sent_is_taken_with_all_its_files_and_only_once(ledger: SqlLedger) -> None:
    sent = send(ledger, "a.wav", "b.wav")
    assert take(ledger, sent.batch_id) == sent
    assert take(ledger, sent.batch_id, owner="w2") is None
    assert take(ledger, sent.batch_id) is None


def test_a_batch_that_was_not_sent_is_its_own_processs(ledger: SqlLedger) -> None:
    claim = make_claim(ledger, recording())
    assert take(ledger, claim.batch_id) is None
    assert take(ledger, 12345) is None


@pytest.mark.parametrize("is_taken", [False, True])
def test_what_is_sent_or_held_is_left_alone_by_a_new_dispatcher(
    ledger: SqlLedger, *, is_taken: bool
) -> None:
    sent = send(ledger)
    run_id = open_run(ledger, take_some(ledger, sent.batch_id)) if is_taken else None
    assert ledger.recover_claims(now=NOW) == 0
    assert state_of(ledger) is State.CLAIMED
    if run_id is not None:
        assert ledger.renew(sent.batch_id, owner="w1", lease_s=LONG_S)
        assert put_result(ledger, sent)
        assert publish(ledger, sent)


def test_an_expired_lease_is_taken_back_and_the_late_worker_fenced_off(
    ledger: SqlLedger, url: str
) -> None:
    sent = send(ledger, "a.wav", "b.wav")
    late = take_some(ledger, sent.batch_id, lease_s=OVER_S)
    run_id = open_run(ledger, late)
    assert ledger.open_batches().expired == 1
    assert ledger.recover_claims(now=NOW) == 2
    assert [w.deaths for w in waiting(ledger)] == [1, 1]
    assert all(w.is_isolated for w in waiting(ledger))
    assert not ledger.renew(sent.batch_id, owner="w1", lease_s=LONG_S)
    assert not put_result(ledger, late)
    assert not fail(ledger, late, State.FAILED)
    assert ledger.release(late, now=NOW) == 0
    with LedgerReader.open(url) as reader:
        assert reader.run(run_id)["status"] == "INTERRUPTED"

    again = ledger.claim(Batch(tuple(waiting(ledger))[:1]), owner="d", now=NOW)
    ledger.send([again.batch_id])
    assert take(ledger, again.batch_id, owner="w2") == again
    assert not put_result(ledger, late)
    assert put_result(ledger, again)


def test_a_lease_holds_as_long_as_it_is_renewed_and_by_its_owner_only(ledger: SqlLedger) -> None:
    sent = send(ledger)
    take_some(ledger, sent.batch_id, lease_s=OVER_S)
    assert not ledger.renew(sent.batch_id, owner="w2", lease_s=LONG_S)
    assert ledger.renew(sent.batch_id, owner="w1", lease_s=LONG_S)
    assert ledger.recover_claims(now=NOW) == 0


def test_a_file_that_kills_its_workers_is_quarantined_at_the_limit(ledger: SqlLedger) -> None:
    ledger.death_limit = 3
    make_ready(ledger, recording())
    for deaths in (1, 2, 3):
        claim = ledger.claim(Batch(tuple(waiting(ledger))), owner="d", now=NOW)
        ledger.send([claim.batch_id])
        take_some(ledger, claim.batch_id, lease_s=OVER_S)
        assert ledger.recover_claims(now=NOW) == 1
        assert state_of(ledger) is (State.QUARANTINED if deaths == 3 else State.READY)


def test_a_result_under_a_lease_is_published_by_its_worker_then_by_anyone(
    ledger: SqlLedger,
) -> None:
    sent = send(ledger)
    claim = take_some(ledger, sent.batch_id, lease_s=OVER_S)
    assert put_result(ledger, claim)
    assert ledger.unpublished(lambda _: FileOptions()) == []
    assert ledger.recover_claims(now=NOW) == 0  # nothing is CLAIMED any more
    (left,) = ledger.unpublished(lambda _: FileOptions())
    assert left.waiting.file == recording()
    assert publish(ledger, claim)


def test_what_is_under_way_is_known_by_what_was_sent_and_taken(ledger: SqlLedger) -> None:
    assert ledger.open_batches().count == 0
    first, second = send(ledger, "a.wav"), send(ledger, "b.wav")
    assert [batch_id for batch_id, _ in ledger.open_batches().sent] == [
        first.batch_id,
        second.batch_id,
    ]
    ledger.send([first.batch_id])  # again: it goes to the end of those that wait
    assert [batch_id for batch_id, _ in ledger.open_batches().sent] == [
        second.batch_id,
        first.batch_id,
    ]
    taken = take_some(ledger, first.batch_id)
    found = ledger.open_batches()
    assert (len(found.sent), found.leased, found.expired, found.count) == (1, 1, 0, 2)
    ledger.release(taken, now=NOW)
    assert ledger.open_batches().count == 1


def test_files_that_changed_while_their_batch_was_on_its_way_are_not_taken(
    ledger: SqlLedger,
) -> None:
    sent = send(ledger, "a.wav", "b.wav")
    ledger.record_listing(
        seen=[(recording("a.wav", version=2), "new")], ready=[], refused=[], gone=[], now=NOW
    )
    claim = take_some(ledger, sent.batch_id)
    assert [item.file.path.name for item in claim.batch.files] == ["b.wav"]
    other = send(ledger, "c.wav")
    ledger.record_listing(
        seen=[(recording("c.wav", version=2), "new")], ready=[], refused=[], gone=[], now=NOW
    )
    assert take(ledger, other.batch_id) is None
    assert ledger.open_batches().count == 1


def test_one_sound_is_transcribed_by_one_batch_at_a_time(ledger: SqlLedger) -> None:
    first, second = send(ledger, "a.wav"), send(ledger, "b.wav")
    take_some(ledger, first.batch_id), take_some(ledger, second.batch_id)
    assert ledger.may_transcribe(first, "s1", "f1")
    assert not ledger.may_transcribe(second, "s1", "f1")
    assert not ledger.may_transcribe(first, "s1", "f1")  # another file of the same batch
    assert ledger.may_transcribe(second, "s1", "f2")
    ledger.release(first, now=NOW)
    assert ledger.may_transcribe(second, "s1", "f1")
    assert put_result(ledger, second, sha256="s1")
    assert ledger.may_transcribe(
        first, "s1", "f1"
    )  # it is over; whoever asks looks for the result again


def test_workers_are_counted_while_they_say_that_they_live(ledger: SqlLedger) -> None:
    worker = WorkerInfo("gpu0@here", "here", 7, "cuda:0")
    assert ledger.count_live_workers(within_s=60) == 0
    ledger.record_worker(worker, batch_id=None)
    ledger.record_worker(worker, batch_id=send(ledger).batch_id)
    assert ledger.count_live_workers(within_s=60) == 1
    assert ledger.count_live_workers(within_s=-60) == 0
    ledger.remove_worker(worker.name)
    assert ledger.count_live_workers(within_s=60) == 0


def test_a_race_gives_each_batch_to_exactly_one(ledger: SqlLedger) -> None:
    files = [recording(f"{number}.wav") for number in range(20)]
    ready = make_ready(ledger, *files)
    n_threads = 8

    def claim_all(who: int) -> list[int]:
        won = []
        for item in ready:
            claim = ledger.claim(Batch((item,)), owner=str(who), now=NOW)
            if claim is not None:
                won.append(claim.batch_id)
                ledger.send([claim.batch_id])
        return won

    def take_all(who: int) -> list[int]:
        return [b for b in batch_ids if take(ledger, b, owner=str(who)) is not None]

    with ThreadPoolExecutor(n_threads) as threads:
        batch_ids = sorted(b for won in threads.map(claim_all, range(n_threads)) for b in won)
        assert len(batch_ids) == len(set(batch_ids)) == len(files)
        taken = sorted(b for won in threads.map(take_all, range(n_threads)) for b in won)
    assert taken == batch_ids


def test_of_two_workers_who_want_a_name_at_once_one_gets_it(ledger: SqlLedger) -> None:
    n_pairs = 12
    names = [f"{number}.{ending}" for number in range(n_pairs) for ending in ("wav", "mp3")]
    ready = {w.file.path.name: w for w in make_ready(ledger, *map(recording, names))}
    at_once = threading.Barrier(2)

    def record_all(ending: str) -> list[int]:
        """The numbers of those whose name it got."""
        won = []
        for number in range(n_pairs):
            batch = Batch((ready[f"{number}.{ending}"],))
            claim = ledger.claim(batch, owner=ending, now=NOW)
            assert claim is not None
            run_id = open_run(ledger, claim)
            wanted = NewResult(
                file_id=batch.files[0].file_id,
                sha256=f"{number}",  # both sound alike
                fingerprint="f1",
                result=RESULT,
                names=(("txt", INBOX / f"{number}.txt"),),
                name_kind="stem",
            )
            at_once.wait(60)
            with contextlib.suppress(NameTaken):
                if ledger.record_results(claim, [wanted], run_id=run_id, now=NOW):
                    won.append(number)
        return won

    with ThreadPoolExecutor(2) as threads:
        won = [number for some in threads.map(record_all, ("wav", "mp3")) for number in some]
    assert sorted(won) == list(range(n_pairs))
