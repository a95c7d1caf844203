"""A real ledger in a temporary folder: the use cases are tested against what they will meet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import (
    FakeClock,
    FakeDecoder,
    FakeDoorbell,
    FakeEngines,
    FakeFiles,
    FakeInbox,
    FakeProgress,
    FakePublisher,
    FakeSpeakers,
    FakeVoice,
    fake_render,
)
from thoth_watch.application.ports import Claim
from thoth_watch.application.publish_transcript import PublishTranscript
from thoth_watch.application.serve import EndedBatch, Serve, ServePolicy
from thoth_watch.application.transcribe_batch import TranscribeBatch
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.errors import TryLater
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.domain.treatment import Treatment
from thoth_watch.infrastructure.ledger import LedgerReader, SqlLedger


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated ledger, made once."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    SqlLedger.open(f"sqlite:///{path}").close()
    return path


@dataclass
class House:
    """Everything put together, with fakes at the edges and the ledger real."""

    ledger: SqlLedger
    path: Path
    clock: FakeClock = field(default_factory=FakeClock)
    inbox: FakeInbox = field(default_factory=FakeInbox)
    files: FakeFiles = field(default_factory=FakeFiles)
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    engines: FakeEngines = field(default_factory=FakeEngines)
    publisher: FakePublisher = field(default_factory=FakePublisher)
    progress: FakeProgress = field(default_factory=FakeProgress)
    voice: FakeVoice = field(default_factory=FakeVoice)
    speakers: FakeSpeakers = field(default_factory=FakeSpeakers)
    treatment: Treatment = field(default_factory=lambda: Treatment(formats=("txt",)))
    policy: BatchPolicy = field(default_factory=BatchPolicy)
    sentinel: str | None = None
    stop_after: int | None = None  # engine stops before that many recordings
    tidy: Callable[[], bool] = field(default=lambda: False)
    quiet_until: Callable[[datetime], datetime | None] = field(default=lambda _: None)
    idle_unload_s: float | None = None
    unload: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        self.publish = PublishTranscript(
            ledger=self.ledger, publisher=self.publisher, render=fake_render, clock=self.clock
        )
        self.transcribe = self.new_transcribe()
        self.watch = self.new_watch()
        self.batches: list[list[str]] = []

    def new_transcribe(self, **named: Any) -> TranscribeBatch:
        """What carries batches out."""
        return TranscribeBatch(
            ledger=self.ledger,
            decoder=self.decoder,
            engines=self.engines,
            publish=self.publish,
            files=self.files,
            clock=self.clock,
            progress=self.progress,
            peak_rss_bytes=lambda: 123,
            host="here",
            provenance={"program": "thoth-watch"},
            may_begin_another=lambda batch_s: (
                batch_s < (self.policy.max_batch_s or 1e9)
                and self.quiet_until(self.clock.now()) is None
            ),
            voice=self.voice,
            speakers=self.speakers,
            **named,
        )

    def new_watch(self) -> WatchInbox:
        """As after a restart: nothing remembered but what the ledger holds."""
        return WatchInbox(
            self.inbox,
            ledger=self.ledger,
            files=self.files,
            decoder=self.decoder,
            clock=self.clock,
            settle_s=2.0,
            sentinel=self.sentinel,
        )

    def treatment_of(self, file: AudioFile) -> Treatment:
        return self.treatment

    def settle(self) -> None:
        """Look until what is there now has settled."""
        self.watch.tick()
        self.clock.advance(2.0)
        self.watch.tick()

    def run_once(self, *, should_stop=lambda: False) -> list[FileOutcome]:
        """Claim all that is ready as one batch and transcribe it."""
        from thoth_watch.domain.batching import Batch

        batch = Batch(tuple(self.ledger.waiting(self.treatment_of)))
        claim = self.ledger.claim(batch, owner="me", now=self.clock.now())
        assert claim is not None
        return self.transcribe(claim, should_stop=should_stop)

    def serve(
        self,
        *,
        drain: bool = True,
        until: Callable[[], bool] = lambda: False,
        rescan_s: float = 60.0,
        doorbell: FakeDoorbell | None = None,
    ) -> None:
        """The whole loop, until drained or until it is so."""
        house = self

        class InThisThread:
            engines = 1
            under_way = ()
            is_idle = True

            def __init__(self) -> None:
                self.batches: list[EndedBatch] = []

            @property
            def is_busy(self) -> bool:
                return len(self.batches) >= 1  # until the loop has asked for the end of it

            def dispatch(self, claim: Claim) -> None:
                house.batches.append([w.file.path.name for w in claim.batch.files])
                error: TryLater | None = None
                try:
                    house.transcribe(claim, should_stop=lambda: False)
                except TryLater as raised:
                    error = raised
                self.batches.append(EndedBatch(claim, error))

            def wait(self, timeout_s: float) -> bool:
                return True

            def ended(self) -> list[EndedBatch]:
                batches, self.batches = self.batches, []
                return batches

        Serve(
            inboxes=[self.watch],
            ledger=self.ledger,
            dispatcher=InThisThread(),
            doorbell=doorbell or FakeDoorbell(self.clock),
            publish=self.publish,
            files=self.files,
            treatment_of=self.treatment_of,
            clock=self.clock,
            policy=ServePolicy(
                batch=self.policy,
                rescan_s=rescan_s,
                drain=drain,
                idle_unload_s=self.idle_unload_s,
            ),
            owner="me",
            ensure_engine=lambda: None,
            unload=self.unload,
            tidy=self.tidy,
            quiet_until=self.quiet_until,
        ).run(should_stop=until)

    def rows(self) -> dict[str, dict]:
        """The file rows by name."""
        with LedgerReader.open(f"sqlite:///{self.path}") as reader:
            return {Path(row["path"]).name: row for row in reader.files()}

    def provenance_of(self, name: str) -> dict:
        """What the stored result of a file says of how it was made."""
        query = (
            "SELECT provenance FROM results JOIN files USING (sha256, fingerprint)"
            f" WHERE path = '{self.inbox.root / name}'"
        )
        with self.ledger.engine.connect() as connection:
            return json.loads(connection.exec_driver_sql(query).scalar_one())

    def states(self) -> dict[str, State]:
        return {name: State(row["state"]) for name, row in self.rows().items()}

    def runs(self) -> list[dict]:
        with LedgerReader.open(f"sqlite:///{self.path}") as reader:
            return list(reversed(reader.runs()))


@pytest.fixture
def house(tmp_path: Path, empty_ledger: Path) -> Iterator[House]:
    path = tmp_path / "thoth-watch.db"
    shutil.copy(empty_ledger, path)
    ledger = SqlLedger.open(f"sqlite:///{path}")
    yield House(ledger, path)
    ledger.close()
