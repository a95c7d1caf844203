"""One process for each GPU of this machine, started together, stopped together, started again where one dies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from thoth_watch.domain.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE

log = logging.getLogger(__name__)

NVIDIA_GPUS_FOLDER = Path(
    "/proc/driver/nvidia/gpus"
)  # the driver's list; asked without touching CUDA
RESTART_DELAY_S = 30.0  # before one that died is started again
POLL_INTERVAL_S = 0.2
FINAL_EXIT_CODES = frozenset({EXIT_OK, EXIT_USAGE, EXIT_CONFIG})  # as the systemd unit has it


def visible_gpus(environ: Mapping[str, str], *, gpus: Path = NVIDIA_GPUS_FOLDER) -> list[str]:
    """Numbers of the GPUs that a process may use, as CUDA_VISIBLE_DEVICES writes them; empty: none."""
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return [name.strip() for name in said.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(list(gpus.glob("*"))))]


def run_worker_per_gpu(
    gpus: Sequence[str],
    arguments: Sequence[str],
    *,
    should_stop: Callable[[], bool],
    restart_delay_s: float = RESTART_DELAY_S,
) -> int:
    """Run this program with these arguments and `--name gpuN` once for each; the worst exit code.

    should_stop: then all get SIGTERM and are waited for. One that dies is started again after a pause.
    """
    running = {gpu: _start(gpu, arguments) for gpu in gpus}
    again_s: dict[str, float] = {}
    codes: list[int] = []
    while running or again_s:
        stops = should_stop()
        if stops:
            again_s.clear()
            for process in running.values():
                process.terminate()
        for gpu, process in list(running.items()):
            code = process.wait() if stops else process.poll()
            if code is None:
                continue
            del running[gpu]
            if stops or code in FINAL_EXIT_CODES:
                codes.append(code)
            else:
                text = "a worker died and is started again"
                log.warning(text, extra={"event": "worker_died", "gpu": gpu, "code": code})
                again_s[gpu] = time.monotonic() + restart_delay_s
        for gpu in [gpu for gpu, at_s in again_s.items() if at_s <= time.monotonic()]:
            del again_s[gpu]
            running[gpu] = _start(gpu, arguments)
        if not stops:
            time.sleep(POLL_INTERVAL_S)
    return max((abs(code) for code in codes), default=EXIT_OK)


def _start(gpu: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "thoth_watch", *arguments, "--name", f"gpu{gpu}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    return subprocess.Popen(command, env=environment, start_new_session=True)
