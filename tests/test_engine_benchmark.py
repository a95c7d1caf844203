"""Benchmark targets run in processes of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from thoth_watch.bootstrap import TargetProcess
from thoth_watch.domain.errors import ConfigError, EngineUnavailable, ThothError

HELD_BYTES = 300 * 2**20


class FakeTarget:
    """Returns each file's name and its number of threads; computes for a while, or fails on request."""

    precision, device, on_gpu = "none", "this process", False
    batch_size = 1

    def __init__(self, behavior: str = "") -> None:
        if behavior == "refuses":
            raise ConfigError("config.yaml:3: no")
        if behavior == "breaks":
            raise KeyError("encoder")
        self._behavior = behavior

    def transcribe(self, files: Sequence[Path]) -> tuple[list[str], dict[str, float]]:
        if self._behavior == "dies":
            os._exit(9)
        if self._behavior == "holds":
            bytearray(b"x") * HELD_BYTES
        until = time.process_time() + 0.25  # measured in ticks of 10 ms
        while time.process_time() < until:
            pass
        return [f"{f.name} {os.environ.get('OMP_NUM_THREADS')}" for f in files], {"encode": 0.2}


def test_a_pass_has_the_texts_and_the_seconds_of_its_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    timed = TargetProcess(FakeTarget, threads=None)
    result = timed.run([Path("b.wav"), Path("a.wav")])
    timed.close()

    assert result.texts == ["b.wav 7", "a.wav 7"]
    assert result.cpu_s >= 0.19
    assert result.stages == {"encode": 0.2}
    assert timed.facts["device"] == "this process"


def test_memory_is_measured_for_each_target_alone():
    lean, fat = TargetProcess(FakeTarget), TargetProcess(partial(FakeTarget, "holds"))
    for timed in (lean, fat):
        timed.run([])

    assert fat.close() - lean.close() > 0.9 * HELD_BYTES


@pytest.mark.parametrize(
    ("behavior", "raised", "message"),
    [("refuses", ConfigError, "config.yaml:3"), ("breaks", EngineUnavailable, "KeyError")],
)
def test_an_error_while_building_is_raised_in_the_parent_process(
    behavior: str, raised: type[ThothError], message: str
):
    with pytest.raises(raised, match=message):
        TargetProcess(partial(FakeTarget, behavior))


def test_a_target_that_dies_raises_an_error_without_waiting():
    timed = TargetProcess(partial(FakeTarget, "dies"))

    with pytest.raises(EngineUnavailable, match="died"):
        timed.run([])
    assert timed.close() == 0
