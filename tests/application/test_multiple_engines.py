"""Several engines on one main loop, in simulated time."""

from __future__ import annotations

import random

from tests.application.conftest import Harness
from tests.fakes import FakeClock, FakeDecoder, FakeFolderWatcher, FakeService
from thoth_watch.application.ports.dispatch import EndedBatch
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.serve import Serve, ServePolicy
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.states import State


class DecoderWithLengths(FakeDecoder):
    """Declares a different duration for each file."""

    def __init__(self, lengths: dict[str, float]) -> None:
        super().__init__()
        self.lengths = lengths

    def probe(self, file: AudioFile) -> float | None:
        return self.lengths[file.path.name]


class SimulatedEngines:
    """Engines that process their batches in real time; the first `n_deaths` batches kill their engine."""

    def __init__(self, harness: Harness, engines: int, *, n_deaths: int = 0) -> None:
        self.harness, self.engines, self.n_deaths = harness, engines, n_deaths
        self.batches: list[tuple[float, Claim]] = []
        self.sizes: list[int] = []

    @property
    def active_claims(self) -> list[Claim]:
        return [claim for _, claim in self.batches]

    @property
    def is_busy(self) -> bool:
        return len(self.batches) >= self.engines

    @property
    def is_idle(self) -> bool:
        return not self.batches

    @property
    def next_end_s(self) -> float:
        return min((end_s for end_s, _ in self.batches), default=float("inf"))

    def dispatch(self, claim: Claim) -> None:
        self.sizes.append(len(claim.batch.files))
        self.batches.append((self.harness.clock.seconds + claim.batch.audio_s, claim))

    def ended_batches(self) -> list[EndedBatch]:
        over = [b for b in self.batches if b[0] <= self.harness.clock.seconds]
        self.batches = [b for b in self.batches if b not in over]
        ended_batches = []
        for _, claim in over:
            if self.n_deaths:
                self.n_deaths -= 1
                ended_batches.append(EndedBatch(claim, has_died=True))
            else:
                self.harness.transcribe(claim, should_stop=lambda: False)
                ended_batches.append(EndedBatch(claim))
        return ended_batches

    def wait(self, timeout_s: float) -> bool:
        return self.is_idle


class SimulatedFolderWatcher(FakeFolderWatcher):
    """Advances the clock no further than the end of the next simulated batch."""

    def __init__(self, clock: FakeClock, engines: SimulatedEngines) -> None:
        super().__init__(clock)
        self._engines = engines

    def wait(self, timeout_s: float) -> bool:
        self.clock.advance(max(0.0, min(timeout_s, self._engines.next_end_s - self.clock.seconds)))
        return False


def serve(harness: Harness, engines: SimulatedEngines, policy: BatchPolicy | None = None) -> None:
    Serve(
        scan_schedule=ScanSchedule(
            [harness.new_watch()],
            folder_watcher=SimulatedFolderWatcher(harness.clock, engines),
            clock=harness.clock,
            rescan_s=60.0,
        ),
        ledger=harness.ledger,
        dispatcher=engines,
        publish=harness.publish_unchanged,
        resolve_file_options=harness.resolve_file_options,
        clock=harness.clock,
        policy=ServePolicy(
            (policy or BatchPolicy()).for_engines(engines.engines), owner="me", drain=True
        ),
        service=FakeService(),
    ).run(should_stop=lambda: False)


def drop(harness: Harness, n_files: int) -> list[float]:
    """Put files of mixed duration, with a median of one minute, in the inbox; return the durations."""
    draw = random.Random(0)
    lengths = {f"{n}.wav": 60 * draw.lognormvariate(0, 1) for n in range(n_files)}
    harness.decoder = DecoderWithLengths(lengths)
    for name in lengths:
        harness.inbox.put(name)
    return list(lengths.values())


def test_eight_engines_finish_at_about_the_same_time(harness: Harness):
    lengths = drop(harness, 256)
    engines = SimulatedEngines(harness, 8)
    serve(harness, engines)

    ideal_s = max(sum(lengths) / 8, *lengths)
    assert set(harness.states().values()) == {State.DONE}
    assert harness.clock.seconds - 2.0 <= 1.1 * ideal_s  # 2 s: settling
    assert max(engines.sizes) > 1  # in batches, not file by file


def test_every_file_is_done_once_although_two_of_eight_engines_die(harness: Harness):
    drop(harness, 64)
    serve(harness, SimulatedEngines(harness, 8, n_deaths=2))

    assert set(harness.states().values()) == {State.DONE}
    assert len(harness.engines.fake.transcribed) == 64
    assert "RUNNING" not in {run["status"] for run in harness.runs()}


def test_results_of_running_batches_are_not_published_again(harness: Harness):
    drop(harness, 16)
    engines = SimulatedEngines(harness, 2)
    republished: list[int] = []
    publish_again = harness.publish.publish_stored
    harness.publish.publish_stored = lambda item: republished.append(1) or publish_again(item)  # type: ignore[method-assign]
    serve(harness, engines)

    assert republished == []
