"""Each system call and each commit fails once: nothing is lost, and no file is blamed for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.reliability.failpoints import Failpoints, install, uninstall
from tests.reliability.workspace import write_recording
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.audio import WorkerDecoder
from thoth_watch.infrastructure.publishing import render

full = pytest.mark.reliability
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EINTR")
DAY_S = 86_400.0


def run_with_failpoints(harness: Harness, points: Failpoints) -> dict[Path, str]:
    """Transcribe two recordings into two formats with the failpoints; return the expected texts by path."""
    harness.publish._render = render
    harness.file_options = FileOptions(formats=("txt", "json"))
    root = harness.inbox.root
    expected = {
        root / f"{n}.txt": write_recording(root / f"sub{n}" / f"{n}.wav", seed=n) for n in range(2)
    }
    expected = {root / f"sub{n}" / f"{n}.txt": text for n, text in enumerate(expected.values())}
    before = install(points)
    harness.ledger.engine.dispose()  # the next connection goes through the failpoints
    try:
        harness.serve(
            drain=False,
            until=lambda: (
                (set(harness.states().values()) == {State.DONE} and len(harness.states()) == 2)
                or harness.clock.seconds > DAY_S
            ),
        )
    finally:
        uninstall(before)
        harness.ledger.engine.dispose()
    return expected


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("n_errors", [1, pytest.param(len(ERRORS), marks=full)])
def test_a_call_that_fails_once_loses_no_file_and_marks_none_as_failed(
    make_harness: Callable[..., Harness], n_errors: int
):
    with WorkerDecoder() as decoder:
        recorder = Failpoints()
        run_with_failpoints(make_harness(decoder=decoder), recorder)
        counts: Counter[str] = Counter()
        points = []
        for name in recorder.reached:
            counts[name] += 1
            points.append(f"{name}:{counts[name]}")
        plans = [
            f"{point}:{ERRORS[(number + shift) % len(ERRORS)]}"
            for number, point in enumerate(points)
            for shift in range(n_errors)
            if not point.startswith("ledger.committed") and (n_errors > 1 or number % 8 == 0)
        ]
        n_fired = 0
        for plan in plans:
            harness = make_harness(decoder=decoder)
            failing = Failpoints(plan)
            expected = run_with_failpoints(harness, failing)
            n_fired += failing.fired

            assert set(harness.states().values()) == {State.DONE}, (plan, harness.rows())
            assert len(harness.states()) == 2
            for path, text in expected.items():
                assert path.read_text() == text, plan
            on_disk = {p for p in harness.inbox.root.rglob("*") if p.is_file()}
            assert len(on_disk) == 6, (plan, on_disk)
            with harness.ledger.engine.connect() as connection:
                blamed = connection.exec_driver_sql(
                    'SELECT "before", "after", reason FROM transitions'
                    " WHERE \"after\" IN ('FAILED', 'QUARANTINED', 'GONE', 'CONFLICT')"
                ).all()
            assert blamed == [], plan

    assert n_fired >= len(plans) * 9 // 10
    assert len(plans) >= (200 if n_errors > 1 else 10)
