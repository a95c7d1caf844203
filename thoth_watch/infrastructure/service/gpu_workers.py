"""Run one process per GPU of this machine; restart those that die and stop all together."""

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

NVIDIA_GPUS_FOLDER = Path("/proc/driver/nvidia/gpus")  # readable without initializing CUDA
RESTART_DELAY_S = 30.0  # before a worker that died is restarted
POLL_INTERVAL_S = 0.2
FINAL_EXIT_CODES = frozenset({EXIT_OK, EXIT_USAGE, EXIT_CONFIG})  # as in the systemd units


def visible_gpus(environ: Mapping[str, str], *, gpus: Path = NVIDIA_GPUS_FOLDER) -> list[str]:
    """Return the GPUs that a process may use, in the form of CUDA_VISIBLE_DEVICES; empty if there are none."""
    configured = environ.get("CUDA_VISIBLE_DEVICES")
    if configured is not None:
        return [name.strip() for name in configured.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(list(gpus.glob("*"))))]


def run_worker_per_gpu(
    gpus: Sequence[str],
    arguments: Sequence[str],
    *,
    should_stop: Callable[[], bool],
    restart_delay_s: float = RESTART_DELAY_S,
) -> int:
    """Run this program with these arguments and `--name gpuN` once per GPU; return the highest exit code.

    should_stop: returns True when all workers are to get SIGTERM and be waited for.
    restart_delay_s: seconds before a worker that died is restarted.
    """
    running = {gpu: _start(gpu, arguments) for gpu in gpus}
    restart_at_s: dict[str, float] = {}
    codes: list[int] = []
    while running or restart_at_s:
        is_stopping = should_stop()
        if is_stopping:
            restart_at_s.clear()
            for process in running.values():
                process.terminate()
        for gpu, process in list(running.items()):
            code = process.wait() if is_stopping else process.poll()
            if code is None:
                continue
            del running[gpu]
            if is_stopping or code in FINAL_EXIT_CODES:
                codes.append(code)
            else:
                text = f"worker exited; restarting it in {restart_delay_s:g} s"
                log.warning(text, extra={"event": "worker_died", "gpu": gpu, "code": code})
                restart_at_s[gpu] = time.monotonic() + restart_delay_s
        for gpu in [gpu for gpu, at_s in restart_at_s.items() if at_s <= time.monotonic()]:
            del restart_at_s[gpu]
            running[gpu] = _start(gpu, arguments)
        if not is_stopping:
            time.sleep(POLL_INTERVAL_S)
    return max((abs(code) for code in codes), default=EXIT_OK)


def _start(gpu: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "thoth_watch", *arguments, "--name", f"gpu{gpu}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    return subprocess.Popen(command, env=environment, start_new_session=True)
