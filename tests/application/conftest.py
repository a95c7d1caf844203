"""Fixtures: the use cases on each ledger, with fakes of all other adapters."""

from __future__ import annotations

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
    FakeEngines,
    FakeFiles,
    FakeFolderWatcher,
    FakeInbox,
    FakeProgress,
    FakePublisher,
    FakeService,
    FakeSpeakers,
    FakeVoiceActivityDetector,
    fake_render,
)
from tests.ledgers import MEMORY, FlatLedger, skip_in_memory
from tests.memory_ledger import MemoryLedger
from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.known_results import KnownResults
from thoth_watch.application.ports.dispatch import EndedBatch
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.application.publish_transcript import PublishTranscript
from thoth_watch.application.publish_unchanged import PublishUnchanged
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.serve import Serve, ServePolicy
from thoth_watch.application.transcribe_batch import BatchOptions, TranscribeBatch
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.ledger.reading import LedgerReader


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a migrated ledger once per session."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    SqlLedger.open(f"sqlite:///{path}").close()
    return path


@dataclass
class Harness:
    """The use cases, wired with fakes and a ledger on SQLite or in memory."""

    ledger: FlatLedger | MemoryLedger
    path: Path | None = None  # of the SQLite database
    clock: FakeClock = field(default_factory=FakeClock)
    inbox: FakeInbox = field(default_factory=FakeInbox)
    files: FakeFiles = field(default_factory=FakeFiles)
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    engines: FakeEngines = field(default_factory=FakeEngines)
    publisher: FakePublisher = field(default_factory=FakePublisher)
    progress: FakeProgress = field(default_factory=FakeProgress)
    voice: FakeVoiceActivityDetector = field(default_factory=FakeVoiceActivityDetector)
    speakers: FakeSpeakers = field(default_factory=FakeSpeakers)
    file_options: FileOptions = field(default_factory=lambda: FileOptions(formats=("txt",)))
    policy: BatchPolicy = field(default_factory=BatchPolicy)
    sentinel: str | None = None
    stop_after: int | None = None  # engine stops before that many recordings
    move_finished: Callable[[], bool] = field(default=lambda: False)
    quiet_until: Callable[[datetime], datetime | None] = field(default=lambda _: None)
    idle_unload_s: float | None = None
    unload: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        self.publish = PublishTranscript(
            results=self.ledger, publisher=self.publisher, render=fake_render, clock=self.clock
        )
        self.publish_unchanged = PublishUnchanged(self.publish, files=self.files)
        self.transcribe = self.new_transcribe()
        self.watch = self.new_watch()
        self.batches: list[list[str]] = []

    def new_transcribe(
        self, *, known: KnownResults | None = None, **options: Any
    ) -> TranscribeBatch:
        """Create a TranscribeBatch."""
        return TranscribeBatch(
            runs=self.ledger,
            known=known or KnownResults(self.ledger),
            reader=RecordingReader(self.decoder, self.voice, self.speakers),
            engines=self.engines,
            publish=self.publish_unchanged,
            clock=self.clock,
            progress=self.progress,
            options=BatchOptions(
                host="here",
                provenance={"program": "thoth-watch"},
                peak_rss_bytes=lambda: 123,
                may_start_file=lambda batch_s: (
                    batch_s < (self.policy.max_batch_s or 1e9)
                    and self.quiet_until(self.clock.now()) is None
                ),
                **options,
            ),
        )

    def new_watch(self) -> WatchInbox:
        """Create a WatchInbox without memory, as after a restart."""
        return WatchInbox(
            self.inbox,
            ledger=self.ledger,
            files=self.files,
            decoder=self.decoder,
            clock=self.clock,
            settle_s=2.0,
            sentinel=self.sentinel,
        )

    def resolve_file_options(self, file: AudioFile) -> FileOptions:
        return self.file_options

    def settle(self) -> None:
        """Scan twice, so that the present files settle."""
        self.watch.scan()
        self.clock.advance(2.0)
        self.watch.scan()

    def run_once(self, *, should_stop=lambda: False) -> list[FileOutcome]:
        """Claim all READY files as one batch and transcribe it."""
        from thoth_watch.domain.batching import Batch

        batch = Batch(tuple(self.ledger.waiting(self.resolve_file_options)))
        claim = self.ledger.claim(batch, owner="me", now=self.clock.now())
        assert claim is not None
        return self.transcribe(claim, should_stop=should_stop)

    def serve(
        self,
        *,
        drain: bool = True,
        until: Callable[[], bool] = lambda: False,
        rescan_s: float = 60.0,
        folder_watcher: FakeFolderWatcher | None = None,
    ) -> None:
        """Run the main loop until it is drained or `until` returns True."""
        harness = self

        class InlineDispatcher:
            engines = 1
            active_claims = ()
            is_idle = True

            def __init__(self) -> None:
                self.batches: list[EndedBatch] = []

            @property
            def is_busy(self) -> bool:
                return len(self.batches) >= 1  # until the loop has called ended_batches

            def dispatch(self, claim: Claim) -> None:
                harness.batches.append([w.file.path.name for w in claim.batch.files])
                error: RetryLater | None = None
                try:
                    harness.transcribe(claim, should_stop=lambda: False)
                except RetryLater as raised:
                    error = raised
                self.batches.append(EndedBatch(claim, error))

            def wait(self, timeout_s: float) -> bool:
                return True

            def ended_batches(self) -> list[EndedBatch]:
                batches, self.batches = self.batches, []
                return batches

        Serve(
            scan_schedule=ScanSchedule(
                [self.watch],
                folder_watcher=folder_watcher or FakeFolderWatcher(self.clock),
                clock=self.clock,
                rescan_s=rescan_s,
            ),
            ledger=self.ledger,
            dispatcher=InlineDispatcher(),
            publish=self.publish_unchanged,
            resolve_file_options=self.resolve_file_options,
            clock=self.clock,
            policy=ServePolicy(
                batch=self.policy,
                owner="me",
                drain=drain,
                idle_unload_s=self.idle_unload_s,
            ),
            service=FakeService(
                unload=self.unload,
                move_finished=self.move_finished,
                quiet_until=self.quiet_until,
            ),
        ).run(should_stop=until)

    def rows(self) -> dict[str, dict]:
        """Return the file rows by name."""
        if isinstance(self.ledger, MemoryLedger):
            return {row.file.path.name: row.columns() for row in self.ledger.tables.files.values()}
        with LedgerReader.open(f"sqlite:///{self.path}") as reader:
            return {Path(row["path"]).name: row for row in reader.files()}

    def provenance_of(self, name: str) -> dict:
        """Return the provenance of a file's stored result."""
        row = self.rows()[name]
        return dict(self.ledger.find_result(row["sha256"], row["fingerprint"]).provenance)

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        if isinstance(self.ledger, MemoryLedger):
            return len(getattr(self.ledger.tables, table))
        with self.ledger.engine.connect() as connection:
            return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()

    def states(self) -> dict[str, State]:
        return {name: State(row["state"]) for name, row in self.rows().items()}

    def runs(self) -> list[dict]:
        """Return the run rows, oldest first."""
        if isinstance(self.ledger, MemoryLedger):
            return list(self.ledger.tables.runs.values())
        with LedgerReader.open(f"sqlite:///{self.path}") as reader:
            return list(reversed(reader.runs()))


@pytest.fixture(params=["sqlite", MEMORY])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    if request.param == MEMORY:
        skip_in_memory(request)
        yield Harness(MemoryLedger())
        return
    path = request.getfixturevalue("tmp_path") / "thoth-watch.db"
    shutil.copy(request.getfixturevalue("empty_ledger"), path)
    with FlatLedger.open(f"sqlite:///{path}") as ledger:
        yield Harness(ledger, path)
