"""docs/scale.md matches the output of `python -m benchmarks.scale`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scale import format_gpus_needed, most_used, table
from benchmarks.scale_model import Measured, gpus_needed, load_of

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()


def test_the_table_matches_the_output_of_the_command() -> None:
    for row in table(Measured()).splitlines():
        assert row in PAGE
    for part in ("5 at 30 s", "10 at 1 min", "48 at 5 min", "289 at 30 min"):
        assert part in format_gpus_needed(Measured())
    text = (
        "5 GPUs at 30 seconds a file, 10 at one minute, 48 at five minutes and 289 at half an hour"
    )
    assert text in " ".join(PAGE.split())


def test_the_limits_on_the_page_follow_from_the_model() -> None:
    measured = Measured()
    for gpus, is_over in ((47, False), (48, True)):
        load = load_of(gpus, audio_s=300, measured=measured)
        assert (load.used(measured)["database connections"] > 1) is is_over
    used = load_of(51, audio_s=300, measured=measured).used(measured)
    assert used["share bandwidth"] == pytest.approx(1.0, abs=0.01)
    assert "inbox scan" in most_used(load_of(64, audio_s=300, measured=measured), measured)


def test_faster_gpus_need_fewer() -> None:
    slow, fast = Measured(), replace(Measured(), realtime_factor=180.0)
    needs = [gpus_needed(1e6, audio_s=60, measured=m) for m in (slow, fast)]
    assert needs[0] == pytest.approx(2 * needs[1])
