"""The ledger in memory has the same rows and answers as SQLite after any operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_ledger_contract import (
    INBOX,
    REQUESTED,
    RESULT,
    finished_run,
    record,
    recording,
)
from tests.infrastructure.ledger.test_random_walk import RandomWalk
from tests.ledgers import FlatLedger, Ledger
from tests.memory_ledger import MemoryLedger
from thoth_watch.application.ports.ledger import NewResult, PublishedResult
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import NameTaken
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript
from thoth_watch.infrastructure.ledger.reading import LedgerReader

ARCHIVE = Path("/old")
OUTPUTS = [INBOX / name for name in ("a.txt", "b.txt", "c.txt", "d.txt", "a.srt", "b.srt")]
PARTIAL = PartialTranscript(16_000, (), "en", 1)
NOT_IN_MEMORY = frozenset(
    {
        *("size_bytes", "modified_ns", "changed_ns", "device_no", "inode", "ready_at"),
        *("first_seen_at", "last_seen_at", "updated_at", "verdict", "doubts"),
        *("model", "model_revision"),
    }
)


class Comparison(RandomWalk):
    """A random walk that keeps the answers of all operations, with those that the short walk lacks."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        super().__init__(ledger, seed)
        self.answers: list[Any] = []

    def retry(self) -> None:
        """Do nothing: an administrator's retry is not part of any port."""

    def finish_several(self) -> None:
        claim, run_id = self.random.choice(self.claims)
        fingerprint = self.random.choice(("f", "g"))
        new = [
            NewResult(
                file_id=item.file_id,
                sha256=self.random.choice(("s", "t")),
                fingerprint=fingerprint,
                result=replace(RESULT, provenance={"n": self.random.random()}),
                names=tuple((p.suffix[1:], p) for p in self.random.choices(OUTPUTS, k=2)),
                name_kind=self.random.choice(("stem", "name")),
            )
            for item in claim.batch.files
        ]
        self.answers.append(self.ledger.record_results(claim, new, run_id=run_id, now=self.now))

    def publish_anything(self) -> None:
        claim, _ = self.random.choice(self.claims)
        paths = self.random.sample(OUTPUTS, k=len(claim.batch.files))
        published = [
            PublishedResult(
                item.file_id,
                claim.claim_no,
                self.random.choice((State.DONE, State.CONFLICT, State.RETRY)),
                self.random.choice(("", "why")),
                ((path, "w"),),
            )
            for item, path in zip(claim.batch.files, paths, strict=True)
        ]
        self.answers.append(self.ledger.record_published(published, now=self.now))

    def quarantine(self) -> None:
        claim, run_id = self.random.choice(self.claims)
        file_id = self.random.choice(claim.batch.files).file_id
        outcome = FileOutcome(file_id, State.QUARANTINED, "crashed", sha256="s", duration_s=2.0)
        self.answers.append(
            self.ledger.record_failure(claim, outcome=outcome, run_id=run_id, now=self.now)
        )

    def end_worker(self) -> None:
        claim, _ = self.random.choice(self.claims)
        has_died = self.random.random() < 0.5
        self.answers.append(self.ledger.release_dead_claims(claim, has_died=has_died, now=self.now))

    def end_run(self) -> None:
        _, run_id = self.random.choice(self.claims)
        audio_s = self.random.choice((0.0, 3.0))
        self.ledger.close_run(run_id, finished_run(started_at=self.now, audio_s=audio_s), [])
        self.answers.append(self.ledger.realtime_factor())

    def fail_start(self) -> None:
        facts = {"error": "no GPU", "host": "h", "now": self.now}
        self.answers.append(self.ledger.record_failed_start(requested=REQUESTED, **facts))

    def empty(self) -> None:
        file = recording(self.file().path.name, size=0)
        record(self.ledger, seen=[(file, "empty")], now=self.now)
        self.ledger.fail_empty_files([file.path], now=self.now)

    def save_partial(self) -> None:
        key = self.random.choice(("s", "t")), self.random.choice(("f", "f/left", "fg", "g"))
        self.ledger.save_partial_transcript(*key, PARTIAL, now=self.now)

    def move(self) -> None:
        for done in self.ledger.finished(INBOX)[:1]:
            to = AudioFile(ARCHIVE, ARCHIVE / f"{done.file_id}.wav", done.file.signature)
            if not self.ledger.has_path(to.path):
                self.answers.append(self.ledger.record_moved(done, to=to, now=self.now))

    def step(self) -> None:
        more = [self.empty, self.save_partial, self.move, self.fail_start, self.wake]
        if self.claims:
            more += [self.finish_several, self.finish_several, self.publish_anything]
            more += [self.quarantine, self.end_worker, self.end_run, self.fail, self.fail]
        try:
            if self.random.random() < 0.4:
                self.random.choice(more)()
            else:
                super().step()
        except (NameTaken, ValueError) as error:
            self.answers.append(type(error))
        self.now += timedelta(seconds=self.random.choice((0, 1, 30)))

    def facts(self) -> list[Any]:
        """Return everything that the ports tell about the present."""
        keys = [(sha256, f) for sha256 in "st" for f in ("f", "f/left", "fg", "g")]
        inboxes = (INBOX, ARCHIVE)
        unpublished = self.ledger.unpublished(lambda _: FileOptions(language="fr"))
        return [
            self.answers,
            [_plain(item) for item in self.ledger.waiting(lambda _: FileOptions())],
            [(_plain(item.waiting), replace(item, waiting=None)) for item in unpublished],
            [self.ledger.known_files(inbox) for inbox in inboxes],
            [self.ledger.settling(inbox) for inbox in inboxes],
            [self.ledger.finished(inbox) for inbox in inboxes],
            self.ledger.owners_of(OUTPUTS),
            self.ledger.next_retry_at(),
            self.ledger.find_existing_results(keys),
            [self.ledger.find_result(*key) for key in keys],
            [self.ledger.find_partial_transcript(*key) for key in keys],
        ]


def _plain(waiting) -> tuple[Any, ...]:
    """Return the fields of a waiting file; the row of the ledger in memory has more."""
    names = ("file_id", "file", "file_options", "ready_at_s", "audio_s")
    counters = ("attempts", "crashes", "deaths", "setbacks")
    return tuple(getattr(waiting, name) for name in names + counters)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("seed", range(4))
def test_every_operation_has_the_same_effect_as_on_sqlite(
    tmp_path: Path, stack: ExitStack, seed: int
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    on_disk = Comparison(stack.enter_context(FlatLedger.open(url, death_limit=3)), seed)
    reader = stack.enter_context(LedgerReader.open(url))
    memory = MemoryLedger(death_limit=3)
    in_memory = Comparison(memory, seed)
    for n in range(200):
        on_disk.step()
        in_memory.step()
        if n % 10 == 9:  # reading everything takes longer than a step
            assert in_memory.facts() == on_disk.facts(), n
            for expected in reader.files():
                own = memory.tables.files[expected["id"]].columns()
                names = expected.keys() - NOT_IN_MEMORY
                differing = {k: (own[k], expected[k]) for k in names if own[k] != expected[k]}
                assert differing == {}, (n, own)
            for run in reader.runs():
                own = memory.tables.runs[run["id"]]
                assert {name: own.get(name) for name in run} == run, n
