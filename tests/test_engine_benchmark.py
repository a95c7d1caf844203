"""Ways of transcribing in processes of their own."""

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


class Counting:
    """Says each file's name and its own threads; computes for a while, or does what it is told."""

    precision, device, on_gpu = "none", "this process", False
    batch_size = 1

    def __init__(self, does: str = "") -> None:
        if does == "refuses":
            raise ConfigError("config.yaml:3: no")
        if does == "breaks":
            raise KeyError("encoder")
        self._does = does

    def transcribe(self, files: Sequence[Path]) -> tuple[list[str], dict[str, float]]:
        if self._does == "dies":
            os._exit(9)
        if self._does == "holds":
            bytearray(b"x") * HELD_BYTES
        until = time.process_time() + 0.25  # counted in ticks of 10 ms
        while time.process_time() < until:
            pass
        return [f"{f.name} {os.environ.get('OMP_NUM_THREADS')}" for f in files], {"encode": 0.2}


def test_a_pass_has_the_texts_and_the_seconds_of_its_own_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    timed = TargetProcess(Counting, threads=None)
    found = timed.run([Path("b.wav"), Path("a.wav")])
    timed.close()

    assert found.texts == ["b.wav 7", "a.wav 7"]
    assert found.cpu_s >= 0.19
    assert found.stages == {"encode": 0.2}
    assert timed.facts["device"] == "this process"


def test_memory_is_that_of_each_way_alone():
    lean, fat = TargetProcess(Counting), TargetProcess(partial(Counting, "holds"))
    for timed in (lean, fat):
        timed.run([])

    assert fat.close() - lean.close() > 0.9 * HELD_BYTES


@pytest.mark.parametrize(
    ("does", "raised", "says"),
    [("refuses", ConfigError, "config.yaml:3"), ("breaks", EngineUnavailable, "KeyError")],
)
def test_what_cannot_be_built_says_why_in_the_process_that_asked(
    does: str, raised: type[ThothError], says: str
):
    with pytest.raises(raised, match=says):
        TargetProcess(partial(Counting, does))


def test_a_way_that_dies_is_an_error_and_no_wait():
    timed = TargetProcess(partial(Counting, "dies"))

    with pytest.raises(EngineUnavailable, match="died"):
        timed.run([])
    assert timed.close() == 0
