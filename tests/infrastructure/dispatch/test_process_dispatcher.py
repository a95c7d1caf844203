"""Batches in engine processes: nothing is lost when one is killed, and all of them stop on request."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import (
    FakeClock,
    FakeDecoder,
    FakeEngine,
    FakeEngines,
    FakeFiles,
    FakeFolderWatcher,
    FakeInbox,
    FakeService,
    fake_render,
)
from tests.ledgers import FlatLedger
from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.known_results import KnownResults
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.publish_transcript import PublishTranscript
from thoth_watch.application.publish_unchanged import PublishUnchanged
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.serve import Serve, ServePolicy, StopReason
from thoth_watch.application.transcribe_batch import BatchOptions, TranscribeBatch
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.dispatch.engine_process import (
    ParentConnection,
    ParentProgress,
    serve_batches,
)
from thoth_watch.infrastructure.dispatch.process_dispatcher import ProcessDispatcher
from thoth_watch.infrastructure.publishing import DurablePublisher
from thoth_watch.infrastructure.service.clock import SystemClock

TIMEOUT_S = 300.0


class SlowEngine(FakeEngine):
    """Records its process ID and each file it transcribes; waits while the file `wait` exists."""

    def __init__(self, folder: Path, is_stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._folder, self._is_stopping = folder, is_stopping

    def transcribe_one(self, recording: Recording) -> str:
        text = super().transcribe_one(recording)
        with (self._folder / "transcribed.txt").open("a") as lines:
            lines.write(f"{os.getpid()} {text}\n")
        end = time.monotonic() + TIMEOUT_S
        while (self._folder / "wait").exists() and time.monotonic() < end:
            if self._is_stopping():
                break
            time.sleep(0.01)
        return text


def run_engine(connection: Connection, folder: Path, device: str) -> None:
    serve_batches(connection, partial(build, folder, device))


def new_publish(ledger: FlatLedger, clock: Clock, files: FakeFiles) -> PublishUnchanged:
    publish = PublishTranscript(
        results=ledger, publisher=DurablePublisher(), render=fake_render, clock=clock
    )
    return PublishUnchanged(publish, files=files)


def build(folder: Path, device: str, parent: ParentConnection) -> Any:
    if device == "missing":
        raise EngineUnavailable("missing: no such device")
    ledger, clock = FlatLedger.open(f"sqlite:///{folder / 'ledger.db'}"), SystemClock()
    return TranscribeBatch(
        runs=ledger,
        known=KnownResults(ledger),
        reader=RecordingReader(FakeDecoder()),
        engines=FakeEngines(SlowEngine(folder, parent.should_stop)),  # type: ignore[arg-type]
        publish=new_publish(ledger, clock, FakeFiles()),
        clock=clock,
        progress=ParentProgress(parent),
        options=BatchOptions(host="here", provenance={}, peak_rss_bytes=lambda: 1),
    )


class RealTimeWatcher(FakeFolderWatcher):
    """Waits in real time, as the processes do; files settle by the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self._woken = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        self.clock.advance(min(timeout_s, 1.0))
        self._woken.wait(0.02)
        self._woken.clear()
        return False

    def wake(self) -> None:
        self._woken.set()


class ServiceHarness:
    """A ledger, a fake inbox, and the main loop with engine processes."""

    def __init__(self, folder: Path, ledger: FlatLedger) -> None:
        self.folder, self.ledger = folder, ledger
        self.inbox = FakeInbox(folder / "inbox")
        self.inbox.root.mkdir()
        self.clock = FakeClock()
        self.watcher = RealTimeWatcher(self.clock)
        self.is_stopping = False
        self.on_each_step: Callable[[], None] = lambda: None
        self.dispatcher: ProcessDispatcher | None = None
        self.finished_names: list[str] = []

    def serve(self, *devices: str, drain: bool = True) -> StopReason:
        def should_stop() -> bool:
            self.on_each_step()
            return self.is_stopping

        self.dispatcher = dispatcher = ProcessDispatcher(
            run_engine,
            [(device, (self.folder, device)) for device in devices],
            should_stop=lambda: self.is_stopping,
            on_finished=self.watcher.wake,
            on_file=lambda path, *_: self.finished_names.append(path.name),
        )
        files = FakeFiles()
        try:
            return Serve(
                scan_schedule=ScanSchedule(
                    [
                        WatchInbox(
                            self.inbox,
                            ledger=self.ledger,
                            files=files,
                            decoder=FakeDecoder(),
                            clock=self.clock,
                            settle_s=2.0,
                        )
                    ],
                    folder_watcher=self.watcher,
                    clock=self.clock,
                    rescan_s=60.0,
                ),
                ledger=self.ledger,
                dispatcher=dispatcher,
                publish=new_publish(self.ledger, self.clock, files),
                resolve_file_options=lambda _: FileOptions(formats=("txt",)),
                clock=self.clock,
                policy=ServePolicy(
                    batch=BatchPolicy(max_files=4, max_wait_s=0), owner="me", drain=drain
                ),
                service=FakeService(ensure_engine=dispatcher.start),
            ).run(should_stop=should_stop)
        finally:
            dispatcher.close()

    def put(self, n_files: int) -> None:
        for number in range(n_files):
            self.inbox.put(f"{number:02}.wav")

    def transcribed(self) -> list[tuple[int, str]]:
        path = self.folder / "transcribed.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    def query(self, sql: str) -> list[Any]:
        """Query the open ledger; closing another handle of its file would drop this process's locks."""
        with self.ledger.engine.connect() as connection:
            return list(connection.exec_driver_sql(sql).all())

    def rows(self) -> dict[str, Any]:
        return {Path(row.path).name: row for row in self.query("SELECT * FROM files")}

    def check_all_done(self, n_files: int) -> None:
        assert {row.state for row in self.rows().values()} == {State.DONE}
        texts = {path.name: path.read_text() for path in self.inbox.root.glob("*.txt")}
        assert texts == {f"{n:02}.txt": f"{n:02}.wav" for n in range(n_files)}
        assert self.query("SELECT 1 FROM runs WHERE status = 'RUNNING'") == []


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ServiceHarness]:
    with FlatLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield ServiceHarness(tmp_path, ledger)


def test_two_engines_share_the_work_and_a_killed_one_loses_nothing(harness: ServiceHarness):
    harness.put(12)
    (harness.folder / "wait").touch()
    killed: list[int] = []

    def kill_one_of_two() -> None:
        active = {process for process, _ in harness.transcribed()}
        if len(active) == 2 and not killed:
            killed.append(min(active))
            os.kill(killed[0], signal.SIGKILL)
        if killed and harness.dispatcher is not None and len(harness.dispatcher.active_claims) == 1:
            (harness.folder / "wait").unlink(missing_ok=True)

    harness.on_each_step = kill_one_of_two
    assert harness.serve("a", "b") is StopReason.DRAINED

    harness.check_all_done(12)
    rows = harness.rows()
    assert sorted(row.deaths for row in rows.values()) == [0] * 8 + [1] * 4
    assert len(harness.query("SELECT 1 FROM runs WHERE status = 'INTERRUPTED'")) == 1
    assert sorted(harness.finished_names) == sorted(rows)
    repeated = [
        name for name in rows if [text for _, text in harness.transcribed()].count(name) > 1
    ]
    assert len(repeated) == 1  # the file that the killed process was transcribing


def test_a_stop_ends_all_engines_at_their_next_window_and_releases_their_files(
    harness: ServiceHarness,
):
    harness.put(12)
    (harness.folder / "wait").touch()

    def stop_when_two_are_active() -> None:
        harness.is_stopping = harness.is_stopping or len({p for p, _ in harness.transcribed()}) == 2

    harness.on_each_step = stop_when_two_are_active
    assert harness.serve("a", "b", drain=False) is StopReason.STOPPED

    states = [row.state for row in harness.rows().values()]
    assert set(states) == {State.READY, State.DONE}
    assert states.count(State.DONE) == 2  # each had transcribed its file when it was stopped
    assert {row.deaths for row in harness.rows().values()} == {0}

    harness.is_stopping, harness.on_each_step = False, lambda: None
    (harness.folder / "wait").unlink()
    harness.serve("a", "b")
    harness.check_all_done(12)


def test_the_error_names_an_unavailable_engine(harness: ServiceHarness):
    harness.put(1)

    with pytest.raises(EngineUnavailable, match="missing: no such device"):
        harness.serve("a", "missing")
