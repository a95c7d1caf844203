"""Random operations in random order keep the invariants: one state, a reason unless DONE, one owner."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contracts.test_ledger_contract import (
    INBOX,
    NOW,
    RESULT,
    open_run,
    record,
    recording,
)
from thoth_watch.application.ports.ledger import Claim, NewResult, PublishedResult
from thoth_watch.domain.audio import RefusedEntry
from thoth_watch.domain.batching import Batch
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import LEGAL_TRANSITIONS, State
from thoth_watch.infrastructure.ledger import SqlLedger

NAMES = ("a.wav", "a.mp3", "b.wav", "c.wav")
FAILURES = (State.RETRY, State.FAILED, State.QUARANTINED, State.SEEN, State.GONE)


class RandomWalk:
    """Applies random operations to a ledger."""

    def __init__(self, ledger: SqlLedger, seed: int) -> None:
        self.ledger = ledger
        self.random = random.Random(seed)
        self.now = NOW
        self.claims: list[tuple[Claim, int]] = []

    def file(self):
        return recording(self.random.choice(NAMES), version=self.random.randint(1, 2))

    def see(self) -> None:
        record(self.ledger, seen=[(self.file(), self.random.choice(("", "new")))], now=self.now)

    def settle(self) -> None:
        record(self.ledger, ready=[(self.file(), 1.0)], now=self.now)

    def refuse(self) -> None:
        entry = RefusedEntry(INBOX, self.file().path, "a symlink")
        record(self.ledger, refused=[entry], now=self.now)

    def lose(self) -> None:
        record(self.ledger, gone=[self.file().path], now=self.now)

    def claim(self) -> None:
        waiting = self.ledger.waiting(lambda _: FileOptions())
        self.random.shuffle(waiting)
        claim = self.ledger.claim(Batch(tuple(waiting[:2])), owner="walk", now=self.now)
        if claim is not None:
            self.claims.append((claim, open_run(self.ledger, claim)))

    def finish(self) -> None:
        if not self.claims:
            return
        claim, run_id = self.random.choice(self.claims)
        item = self.random.choice(claim.batch.files)
        new = NewResult(
            file_id=item.file_id,
            sha256=f"s{item.file.path}",
            fingerprint="f",
            result=RESULT,
            names=(("txt", item.file.path.with_suffix(".txt")),),
            name_kind="stem",
        )
        recorded = self.ledger.record_results(claim, [new], run_id=run_id, now=self.now)
        if item.file_id in recorded and recorded[item.file_id] is None:  # the name is taken
            self.fail()

    def publish(self) -> None:
        for result in self.ledger.unpublished(lambda _: FileOptions()):
            assert result.names
            published = PublishedResult(
                result.waiting.file_id,
                result.claim_no,
                self.random.choice((State.DONE, State.CONFLICT)),
                "",
                tuple((path, "w") for _, path in result.names),
            )
            self.ledger.record_published([published], now=self.now)

    def fail(self) -> None:
        if not self.claims:
            return
        claim, run_id = self.random.choice(self.claims)
        item = self.random.choice(claim.batch.files)
        states = [s for s in FAILURES if s is not State.QUARANTINED]
        outcome = FileOutcome(
            item.file_id,
            self.random.choice(states),
            next_try_at=self.now + timedelta(seconds=self.random.randint(0, 3)),
            counts_as_attempt=self.random.random() < 0.5,
            crashed=self.random.random() < 0.2,
        )
        self.ledger.record_failure(claim, outcome=outcome, run_id=run_id, now=self.now)

    def release(self) -> None:
        if self.claims:
            self.ledger.release(self.random.choice(self.claims)[0], now=self.now)

    def wake(self) -> None:
        self.ledger.requeue_due_retries(now=self.now)

    def retry(self) -> None:
        self.ledger.retry(now=self.now)

    def die(self) -> None:
        self.ledger.recover_claims(now=self.now)

    def step(self) -> None:
        frequent = [self.see, self.settle, self.settle, self.claim, self.finish, self.publish]
        rare = [self.refuse, self.lose, self.fail, self.release, self.wake, self.retry, self.die]
        self.random.choice(frequent * 3 + rare)()
        self.now += timedelta(seconds=1)


@pytest.mark.parametrize("seed", range(3))
def test_no_order_of_operations_breaks_the_invariants(
    ledger: SqlLedger, path: Path, seed: int
) -> None:
    walk = RandomWalk(ledger, seed)
    for _ in range(120):
        walk.step()
    with closing(sqlite3.connect(path)) as connection:
        check(connection)
    assert len(set(ledger.known_files(INBOX))) <= len(NAMES)


def check(connection: sqlite3.Connection) -> None:
    files = connection.execute("SELECT state, reason, attempts FROM files").fetchall()
    assert 0 < len(files) <= len(NAMES)
    for state, reason, attempts in files:
        assert state == "DONE" or reason.strip()
        assert attempts >= 0
    rows = connection.execute(
        "SELECT file_id, before, after, claim_no FROM transitions ORDER BY id"
    ).fetchall()
    last: dict[int, str] = {}
    claim_nos: dict[int, int] = {}
    for file_id, before, after, claim_no in rows:
        assert State(after) in LEGAL_TRANSITIONS[State(before)]
        assert last.get(file_id, before) == before
        last[file_id] = after
        if after == "CLAIMED":  # one claim at a time, each with a higher number
            assert claim_no > claim_nos.get(file_id, 0)
            claim_nos[file_id] = claim_no
    assert {"CLAIMED", "RESULT"} <= {after for _, _, after, _ in rows}  # the walk made progress
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
