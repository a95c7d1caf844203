"""One process per GPU, with a stub program instead of thoth-watch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from thoth_watch.infrastructure.service import gpu_workers
from thoth_watch.infrastructure.service.gpu_workers import run_worker_per_gpu, visible_gpus


@pytest.mark.parametrize(
    ("configured", "expected"),
    [(None, ["0", "1"]), ("3", ["3"]), ("0, 2", ["0", "2"]), ("", []), ("-1", [])],
)
def test_gpus_come_from_the_environment_or_else_from_the_driver(
    tmp_path: Path, configured: str | None, expected: list[str]
) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    environ = {} if configured is None else {"CUDA_VISIBLE_DEVICES": configured}
    assert visible_gpus(environ, gpus=tmp_path) == expected


def test_a_machine_without_the_driver_has_no_gpus(tmp_path: Path) -> None:
    assert visible_gpus({}, gpus=tmp_path / "none") == []


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which each stub process appends its GPU number; then it runs its argument."""
    path = tmp_path / "log"
    path.touch()

    def start(gpu: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        code = f"import sys, time; open({str(path)!r}, 'a').write({gpu!r}); {arguments[0]}"
        return subprocess.Popen([sys.executable, "-c", code])

    monkeypatch.setattr(gpu_workers, "_start", start)
    return path


def test_all_workers_are_stopped_together(log: Path) -> None:
    code = run_worker_per_gpu(
        ["0", "1"], ["time.sleep(1000)"], should_stop=lambda: len(log.read_text()) == 2
    )
    assert code == 15  # SIGTERM, which the stub does not handle


def test_a_worker_that_dies_is_restarted(log: Path) -> None:
    run_worker_per_gpu(
        ["0"], ["sys.exit(69)"], should_stop=lambda: len(log.read_text()) >= 3, restart_delay_s=0.0
    )
    assert len(log.read_text()) >= 3


def test_a_worker_with_a_permanent_error_is_not_restarted(log: Path) -> None:
    assert run_worker_per_gpu(["0", "1"], ["sys.exit(78)"], should_stop=lambda: False) == 78
    assert sorted(log.read_text()) == ["0", "1"]
