"""Copies that stall, and recordings that change after they were transcribed: the last version wins."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeClock, FakeFolderWatcher, HashingEngine
from tests.reliability.workspace import write_recording
from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.publishing import render

full = pytest.mark.reliability
SETTLE_S = 2.0  # as in the harness
LATER_S = 300.0  # by then the first version is DONE
Step = tuple[float, Callable[[], object]]  # seconds on the harness's clock, and a change to a file


class ScriptedWriters(FakeFolderWatcher):
    """A watcher without events: its waits advance the clock and run the scripted changes at their times."""

    def __init__(self, clock: FakeClock, steps: list[Step]) -> None:
        super().__init__(clock)
        self._steps = sorted(steps, key=lambda step: step[0])
        self.end_s = self._steps[-1][0]

    def wait(self, timeout_s: float) -> bool:
        next_s = self._steps[0][0] if self._steps else float("inf")
        self.clock.advance(min(timeout_s, max(0.0, next_s - self.clock.seconds)))
        while self._steps and self._steps[0][0] <= self.clock.seconds:
            self.run_next_step()
        return False

    def run_next_step(self) -> None:
        """Run the next step, if any is left, even before its time."""
        if self._steps:
            self._steps.pop(0)[1]()


class InterruptedEngine(HashingEngine):
    """An engine during whose work the writers may take their next step."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self.writers: ScriptedWriters | None = None

    def transcribe_one(self, recording: Recording) -> str:
        if self.writers and self._rng.random() < 0.2:
            self.writers.run_next_step()
        return super().transcribe_one(recording)


class Case:
    """One file, two versions of its content, and ways to write them."""

    def __init__(self, harness: Harness, number: int, rng: random.Random) -> None:
        self.path = harness.inbox.root / f"{number % 9}" / f"{number}.wav"
        self.outside = harness.inbox.root.parent / "outside" / f"{number}.wav"
        self.rng = rng
        self.texts = []
        self.contents = []
        for version in range(2):
            seconds = 0.1 + 0.2 * rng.random()
            text = write_recording(self.outside, seed=2 * number + version, seconds=seconds)
            self.texts.append(text)
            self.contents.append(self.outside.read_bytes())
        self.path.parent.mkdir(exist_ok=True)

    @property
    def transcript(self) -> Path:
        return self.path.with_suffix(".txt")

    def stall_times(self) -> Iterator[float]:
        """Yield times that are half to five times `settle_s` apart."""
        at_s = 20 * self.rng.random()
        while True:
            yield at_s
            at_s += SETTLE_S * self.rng.uniform(0.5, 5.0)

    def split_content(self) -> list[bytes]:
        cuts = sorted(self.rng.randrange(len(self.contents[0])) for _ in range(3))
        ends = [*cuts, len(self.contents[0])]
        return [self.contents[0][a:b] for a, b in zip([0, *cuts], ends, strict=True)]

    def append(self, part: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(part)

    def replace(self, version: int) -> None:
        self.outside.write_bytes(self.contents[version])
        self.outside.rename(self.path)

    def write(self, version: int) -> None:
        self.path.write_bytes(self.contents[version])


def append_with_pauses(case: Case) -> list[Step]:
    return [
        (at_s, partial(case.append, part))
        for at_s, part in zip(case.stall_times(), case.split_content(), strict=False)
    ]


def write_with_pauses_while_open(case: Case) -> list[Step]:
    file = os.open(case.path, os.O_CREAT | os.O_WRONLY)
    times = case.stall_times()
    steps: list[Step] = [
        (next(times), partial(os.write, file, part)) for part in case.split_content()
    ]
    return [*steps, (next(times), partial(os.close, file))]


def truncate_and_rewrite(case: Case) -> list[Step]:
    times = case.stall_times()
    return [
        (next(times), partial(case.write, 1)),
        (next(times), partial(case.path.write_bytes, b"")),
        (next(times), partial(case.write, 0)),
    ]


def overwrite_when_done(case: Case) -> list[Step]:
    return [(next(case.stall_times()), partial(case.write, 1)), (LATER_S, partial(case.write, 0))]


def replace_when_done(case: Case) -> list[Step]:
    return [
        (next(case.stall_times()), partial(case.replace, 1)),
        (LATER_S, partial(case.replace, 0)),
    ]


def touch_when_done(case: Case) -> list[Step]:
    return [
        (next(case.stall_times()), partial(case.replace, 0)),
        (LATER_S, partial(os.utime, case.path, (1e9, 1e9))),
    ]


def edit_transcript_and_replace(case: Case) -> list[Step]:
    return [
        (next(case.stall_times()), partial(case.replace, 1)),
        (LATER_S, partial(case.transcript.write_text, "what was really said")),
        (LATER_S + 1, partial(case.replace, 0)),
    ]


SCENARIOS: tuple[Callable[[Case], list[Step]], ...] = (
    append_with_pauses,
    write_with_pauses_while_open,
    truncate_and_rewrite,
    overwrite_when_done,
    replace_when_done,
    touch_when_done,
    edit_transcript_and_replace,
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_files", [21, pytest.param(301, marks=full)])
def test_each_transcript_matches_the_last_version_of_its_recording(
    make_harness: Callable[..., Harness], n_files: int
):
    rng = random.Random(n_files)
    harness = make_harness()
    harness.engines.fake = engine = InterruptedEngine(rng)
    harness.publish._render = render
    (harness.inbox.root.parent / "outside").mkdir()
    cases = [Case(harness, number, rng) for number in range(n_files)]
    scenarios = {case: SCENARIOS[number % len(SCENARIOS)] for number, case in enumerate(cases)}
    engine.writers = writers = ScriptedWriters(
        harness.clock, [step for case, scenario in scenarios.items() for step in scenario(case)]
    )

    def is_over() -> bool:
        if harness.clock.seconds < writers.end_s + 60:
            return False
        has_ended = set(harness.states().values()) <= {State.DONE, State.CONFLICT}
        return has_ended or harness.clock.seconds > 86_400

    harness.serve(drain=False, until=is_over, folder_watcher=writers)

    states, rows = harness.states(), harness.rows()
    for case, scenario in scenarios.items():
        context = (scenario.__name__, case.path.name, rows[case.path.name])
        if scenario is edit_transcript_and_replace:
            assert states[case.path.name] == State.CONFLICT, context
            assert case.transcript.read_text() == "what was really said", context
            (alternative,) = case.path.parent.glob(f"{case.path.stem}.thoth-*.txt")
            assert alternative.read_text() == case.texts[0], context
            continue
        assert states[case.path.name] == State.DONE, context
        assert case.transcript.read_text() == case.texts[0], context
        if scenario is touch_when_done:
            assert engine.transcribed.count(case.texts[0].strip()) == 1, context
    n_conflicts = sum(s is edit_transcript_and_replace for s in scenarios.values())
    transcripts = list(harness.inbox.root.rglob("*.txt"))
    assert len(transcripts) == n_files + n_conflicts
