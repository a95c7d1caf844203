"""A process for each GPU, with a program in the place of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from thoth_watch.infrastructure.service import gpu_workers
from thoth_watch.infrastructure.service.gpu_workers import run_worker_per_gpu, visible_gpus


@pytest.mark.parametrize(
    ("said", "found"),
    [(None, ["0", "1"]), ("3", ["3"]), ("0, 2", ["0", "2"]), ("", []), ("-1", [])],
)
def test_the_environment_has_its_say_and_else_the_driver(
    tmp_path: Path, said: str | None, found: list[str]
) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    environ = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    assert visible_gpus(environ, gpus=tmp_path) == found


def test_a_machine_without_the_driver_has_none(tmp_path: Path) -> None:
    assert visible_gpus({}, gpus=tmp_path / "none") == []


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the processes wrote: the number of their GPU. The argument is what they do then."""
    path = tmp_path / "log"
    path.touch()

    def start(gpu: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        code = f"import sys, time; open({str(path)!r}, 'a').write({gpu!r}); {arguments[0]}"
        return subprocess.Popen([sys.executable, "-c", code])

    monkeypatch.setattr(gpu_workers, "_start", start)
    return path


def test_all_are_stopped_together(log: Path) -> None:
    code = run_worker_per_gpu(
        ["0", "1"], ["time.sleep(1000)"], should_stop=lambda: len(log.read_text()) == 2
    )
    assert code == 15  # by SIGTERM, which this program does not catch


def test_one_that_dies_is_started_again(log: Path) -> None:
    run_worker_per_gpu(
        ["0"], ["sys.exit(69)"], should_stop=lambda: len(log.read_text()) >= 3, restart_delay_s=0.0
    )
    assert len(log.read_text()) >= 3


def test_one_that_only_a_person_can_mend_is_not_started_again(log: Path) -> None:
    assert run_worker_per_gpu(["0", "1"], ["sys.exit(78)"], should_stop=lambda: False) == 78
    assert sorted(log.read_text()) == ["0", "1"]
