"""`python -m benchmarks.scale_simulation`: the real dispatcher with hundreds of simulated workers.

Dispatcher, batching, back-pressure, leases and ledger are the program's own; the broker is a queue in
memory, and workers only use simulated time: the clock jumps from one event to the next.
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.fakes import FakeFiles, FakePublisher, FakeService, fake_render
from thoth_watch.application.ports.dispatch import WorkerInfo
from thoth_watch.application.ports.ledger import Claim, NewResult, PublishedResult, StoredResult
from thoth_watch.application.publish_transcript import PublishTranscript
from thoth_watch.application.publish_unchanged import PublishUnchanged
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.serve import Serve, ServePolicy, StopReason
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import FileOutcome, Run, RunStatus, StageSeconds
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.dispatch.fleet_dispatcher import FleetDispatcher
from thoth_watch.infrastructure.ledger import SqlLedger

INBOX = Path("/in")
LEASE_S = 7 * 86_400.0  # long, because leases use the database's real clock
REALTIME_FACTOR = 90.0
ENGINE = TranscriptionEngineConfig()
PLACEMENT = Placement(
    engine="batch",
    model="fake",
    model_revision="0",
    device="cuda:0",
    device_name="simulated GPU",
    precision="float16",
    mixed_precision="fp16",
    batch_size=24,
    versions={},
)
EMPTY_TRANSCRIPT = Transcript((), "en", 1.0)


@dataclass
class SimulatedClock:
    """A clock that advances only while the dispatcher waits."""

    seconds: float = 0.0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """Return the simulated time in UTC, timezone-aware."""
        return self.started_at + timedelta(seconds=self.seconds)

    def monotonic_s(self) -> float:
        """Return the simulated seconds since the start."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Advance the simulated time."""
        self.seconds += seconds


@dataclass
class FakeFleet:
    """Queue, workers and folder watcher in one: while the dispatcher waits, the workers run."""

    ledger: SqlLedger
    clock: SimulatedClock
    n_workers: int
    queue: deque[int] = field(default_factory=deque)
    most_queued: int = 0
    busy_s: float = 0.0
    batches: int = 0

    def __post_init__(self) -> None:
        self.idle = list(range(self.n_workers))
        self.working: list[tuple[float, int, Claim]] = []  # (end in s, worker, claim)
        for number in self.idle:
            worker = WorkerInfo(f"w{number}", "localhost", number, "cuda:0")
            self.ledger.leases.record_worker(worker, batch_id=None)

    def send(self, batch_id: int) -> None:
        """Add a batch to the queue."""
        self.queue.append(batch_id)
        self.most_queued = max(self.most_queued, len(self.queue))
        self.start_idle_workers()

    def depth(self) -> int:
        """Return the number of queued batches."""
        return len(self.queue)

    def start_idle_workers(self) -> None:
        """Let idle workers lease queued batches."""
        while self.queue and self.idle:
            worker, batch_id = self.idle.pop(), self.queue.popleft()
            claim = self.ledger.leases.lease(
                batch_id,
                owner=f"w{worker}",
                lease_s=LEASE_S,
                resolve_file_options=lambda _: FileOptions(),
            )
            if claim is None:
                self.idle.append(worker)
                continue
            duration_s = claim.batch.audio_s / REALTIME_FACTOR
            self.busy_s += duration_s
            self.batches += 1
            heapq.heappush(self.working, (self.clock.seconds + duration_s, worker, claim))

    def changed_paths(self) -> None:
        """Report no changes; all files are in the ledger from the start."""

    def wait(self, timeout_s: float) -> bool:
        """Advance the clock and finish the batches that end in that time; return False."""
        end_s = self.clock.seconds + timeout_s
        while self.working and self.working[0][0] <= end_s:
            self.clock.seconds, worker, claim = heapq.heappop(self.working)
            record(self.ledger, claim, self.clock.now())
            self.idle.append(worker)
            self.start_idle_workers()
        self.clock.seconds = end_s
        return False

    def wake(self) -> None:
        """Do nothing; the simulation never sleeps."""


def record(ledger: SqlLedger, claim: Claim, now: datetime) -> None:
    """Write everything that a worker writes for a batch."""
    run_id = ledger.runs.open_run(claim, requested=ENGINE, placement=PLACEMENT, now=now)
    results = [
        NewResult(
            file_id=item.file_id,
            sha256=f"{item.file_id:064}",
            fingerprint="f",
            result=StoredResult(EMPTY_TRANSCRIPT, {}),
            names=(("txt", item.file.path.with_suffix(".txt")),),
            name_kind="stem",
        )
        for item in claim.batch.files
    ]
    ledger.results.record_results(claim, results, run_id=run_id, now=now)
    published = [
        PublishedResult(r.file_id, claim.claim_no, State.DONE, "", ((r.names[0][1], r.sha256),))
        for r in results
    ]
    ledger.results.record_published(published, now=now)
    outcomes = [FileOutcome(r.file_id, State.DONE) for r in results]
    ledger.runs.release(claim, now=now)
    wall_s = claim.batch.audio_s / REALTIME_FACTOR
    ledger.runs.close_run(run_id, finished_run(claim, now, wall_s), outcomes)


def finished_run(claim: Claim, now: datetime, wall_s: float) -> Run:
    """Return the run record of a claim."""
    return Run(
        requested=ENGINE,
        placement=PLACEMENT,
        started_at=now,
        finished_at=now,
        status=RunStatus.DONE,
        stages=StageSeconds(),
        audio_s=claim.batch.audio_s,
        wall_s=wall_s,
        files_ok=len(claim.batch.files),
        files_failed=0,
        tokens=0,
        peak_rss_bytes=0,
        peak_gpu_bytes=0,
    )


def fill(ledger: SqlLedger, n_files: int, now: datetime) -> list[float]:
    """Add ready files with log-normal lengths (median 5 min) and return the lengths in seconds."""
    rng = random.Random(7)
    lengths = [min(7200.0, 300.0 * rng.lognormvariate(0, 1)) for _ in range(n_files)]
    files = [
        (AudioFile(INBOX, INBOX / f"{number:07}.wav", Signature(1, 1, 1, 1, number)), seconds)
        for number, seconds in enumerate(lengths)
    ]
    ledger.inbox.record_listing(seen=[], ready=files, refused=[], gone=[], now=now)
    return lengths


def simulate(url: str, *, n_workers: int, n_files: int, policy: BatchPolicy) -> str:
    """Run the dispatcher's main loop until all files are DONE and return a summary."""
    clock = SimulatedClock()
    with SqlLedger.open(url) as ledger:
        lengths = fill(ledger, n_files, clock.now())
        fleet = FakeFleet(ledger, clock, n_workers)
        dispatcher = FleetDispatcher(
            ledger.leases,
            fleet,
            recover_claims=lambda: ledger.queue.recover_claims(now=clock.now()),
            window_per_worker=2,
            lease_s=LEASE_S,
            monotonic_s=clock.monotonic_s,
        )
        serve = Serve(
            scan_schedule=ScanSchedule([], folder_watcher=fleet, clock=clock, rescan_s=60.0),
            ledger=ledger.queue,
            dispatcher=dispatcher,
            publish=PublishUnchanged(
                PublishTranscript(
                    results=ledger.results,
                    publisher=FakePublisher(),  # the workers publish
                    render=fake_render,
                    clock=clock,
                ),
                files=FakeFiles(),
            ),
            resolve_file_options=lambda _: FileOptions(),
            clock=clock,
            policy=ServePolicy(
                batch=policy, owner="dispatcher", drain=True, monitor_interval_s=1.0
            ),
            service=FakeService(monitor_workers=dispatcher.monitor_workers),
        )
        cpu, wall = time.process_time(), time.perf_counter()
        stop_reason = serve.run(should_stop=lambda: False)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        n_done = len(
            [
                1
                for known_files in ledger.inbox.known_files(INBOX).values()
                if known_files.state is State.DONE
            ]
        )
    assert stop_reason is StopReason.DRAINED
    assert n_done == n_files, f"{n_done} of {n_files}"
    ideal_s = max(sum(lengths) / n_workers, *lengths) / REALTIME_FACTOR
    return (
        f"{n_workers} workers, {n_files} files, {sum(lengths) / 3600:.0f} h of audio, {fleet.batches} batches: "
        f"makespan {clock.seconds:.0f} s, {clock.seconds / ideal_s:.2f} times the ideal; "
        f"at most {fleet.most_queued} messages waited (window {2 * n_workers}); "
        f"all ledger work, including that of the workers: {1000 * cpu / fleet.batches:.1f} ms of CPU "
        f"per batch, {1000 * cpu / n_files:.2f} ms per file ({wall:.0f} s of wall time)"
    )


def main() -> None:
    """Run the simulation and print its summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=512)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument(
        "--ledger", help="URL of an empty database; default: SQLite in a temporary folder."
    )
    parser.add_argument(
        "--order", default="longest", help="Order of files: oldest, shortest, longest or priority."
    )
    requested = parser.parse_args()
    policy = BatchPolicy(order=requested.order)
    with tempfile.TemporaryDirectory() as folder:
        url = requested.ledger or f"sqlite:///{folder}/ledger.db"
        print(simulate(url, n_workers=requested.workers, n_files=requested.files, policy=policy))


if __name__ == "__main__":
    main()
