"""The wall clock jumps by seconds up to ten years: no file waits forever, and none is retried too fast."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeClock, FakeDecoder, FakeEngine, FakeEngines, FakeFolderWatcher
from tests.ledgers import FlatLedger
from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import DecoderCrashed, NotAudio, RetryLater
from thoth_watch.domain.states import MAX_RETRY_WAIT_S

full = pytest.mark.reliability
HOUR_S, YEAR_S = 3_600.0, 365.25 * 86_400
JUMPS_S = (1.0, 3_600.0, 10 * HOUR_S, 30 * 86_400.0, YEAR_S, 10 * YEAR_S)
MIN_JUMP_INTERVAL_S = 600.0  # more frequent jumps would make wall times meaningless
RESCAN_S = 600.0
ALWAYS_FAILING = "always.wav"  # its fault is permanent
MIN_SIMULATED_S = HOUR_S
MAX_SIMULATED_S = 10 * 86_400.0
FINAL_STATES = ("DONE", "FAILED", "QUARANTINED")
FAULTS = (RetryLater, RetryLater, NotAudio, DecoderCrashed, RuntimeError)


class JumpingClock(FakeClock):
    """A clock whose wall time jumps at random; its monotonic seconds only increase (also in a suspend)."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self.last_jump_s = -MIN_JUMP_INTERVAL_S  # in monotonic seconds

    def maybe_jump(self) -> None:
        if self.seconds - self.last_jump_s >= MIN_JUMP_INTERVAL_S and self._rng.random() < 0.3:
            jump_s = self._rng.choice(JUMPS_S) * self._rng.choice((-1, 1))
            self.time += timedelta(seconds=jump_s)
            self.last_jump_s = self.seconds


class ClockJumpingFolderWatcher(FakeFolderWatcher):
    """A folder watcher during whose waits the clock may jump."""

    def wait(self, timeout_s: float) -> bool:
        self.clock.maybe_jump()
        return super().wait(timeout_s)


class FaultyDecoder(FakeDecoder):
    """A decoder that raises each file's planned faults first and records the time of every attempt."""

    def __init__(self, clock: JumpingClock, rng: random.Random) -> None:
        super().__init__()
        self._clock, self._rng = clock, rng
        self.remaining_faults: dict[str, list[Exception]] = {}
        self.attempt_times: dict[str, list[float]] = {}
        self.late_attempts: list[tuple[str, float]] = []

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        name, now_s = file.path.name, self._clock.seconds
        before_s = max(self.attempt_times.setdefault(name, [0.0])[-1], self._clock.last_jump_s)
        if now_s - before_s > MAX_RETRY_WAIT_S + RESCAN_S:
            self.late_attempts.append((name, now_s - before_s))
        self.attempt_times[name].append(now_s)
        self._clock.maybe_jump()  # in the middle of a batch
        if name == ALWAYS_FAILING:
            raise RetryLater("the share is unreachable")
        if self.remaining_faults[name]:
            raise self.remaining_faults[name].pop()
        return super().decode(file, key=key)


class ClaimCheckingEngine(FakeEngine):
    """An engine that checks that no recording can be claimed while it is transcribed, whatever the time."""

    harness: Harness

    def transcribe_one(self, recording: Recording) -> str:
        clock = self.harness.clock
        assert isinstance(clock, JumpingClock)
        clock.maybe_jump()
        ledger = self.harness.ledger
        ledger.requeue_due_retries(now=clock.now())
        names = {w.file.path.name for w in ledger.waiting(self.harness.resolve_file_options)}
        assert recording.samples not in names
        return super().transcribe_one(recording)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_schedules", [5, pytest.param(500, marks=full)])
def test_clock_jumps_neither_block_retries_nor_hurry_them(
    ram_folder: Path, empty_ledger: Path, n_schedules: int
):
    n_jumps = 0
    for number in range(n_schedules):
        rng = random.Random(number)
        clock = JumpingClock(rng)
        decoder, engine = FaultyDecoder(clock, rng), ClaimCheckingEngine()
        path = ram_folder / f"{number}.db"
        shutil.copy(empty_ledger, path)
        with FlatLedger.open(f"sqlite:///{path}") as ledger:
            harness = Harness(
                ledger, path, clock=clock, decoder=decoder, engines=FakeEngines(engine)
            )
            engine.harness = harness
            harness.inbox.put(ALWAYS_FAILING)
            for n in range(3):
                put_faulty_file(harness, decoder, f"{n}.wav", rng)

            def is_over(harness: Harness = harness) -> bool:
                with harness.ledger.engine.connect() as connection:
                    ended = connection.exec_driver_sql(
                        f"SELECT count(*) FROM files WHERE state IN {FINAL_STATES}"
                    ).scalar()
                is_long_enough = harness.clock.seconds > MIN_SIMULATED_S
                return (ended == 3 and is_long_enough) or harness.clock.seconds > MAX_SIMULATED_S

            harness.serve(
                drain=False,
                until=is_over,
                rescan_s=RESCAN_S,
                folder_watcher=ClockJumpingFolderWatcher(clock),
            )
            n_jumps += clock.last_jump_s > 0
            states = harness.states()
            assert states.pop(ALWAYS_FAILING) in {"RETRY", "READY"}
            assert set(states.values()) <= set(FINAL_STATES), (number, states)
        assert decoder.late_attempts == [], number
        assert find_rapid_retries(decoder.attempt_times) == [], number
        path.unlink()

    assert n_jumps > n_schedules // 2


def put_faulty_file(
    harness: Harness, decoder: FaultyDecoder, name: str, rng: random.Random
) -> None:
    """Put a file with up to three faults, or a truncated one, into the inbox, perhaps with a future mtime."""
    age_s = rng.choice((0.0, 2 * HOUR_S, -YEAR_S))
    modified_ns = int((harness.clock.now().timestamp() - age_s) * 1e9)
    harness.inbox.put(name, modified_ns=modified_ns)
    faults = [rng.choice(FAULTS)("injected by the test") for _ in range(rng.randrange(4))]
    decoder.remaining_faults[name] = faults
    if rng.random() < 0.3:
        decoder.remaining_faults[name] = []
        decoder.warnings[name] = ("truncated: 20.0 s declared, 10.0 s decoded",)


def find_rapid_retries(attempt_times: dict[str, list[float]]) -> list[tuple[str, float]]:
    """Return the files that were tried five times within a minute, with the time of the fifth attempt."""
    return [
        (name, end)
        for name, times in attempt_times.items()
        for begin, end in zip(times[1:], times[5:], strict=False)
        if end - begin < 60
    ]
