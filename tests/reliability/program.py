"""The program as it is, but for a fake engine and the failpoints that the environment asks for.

`python -m tests.reliability.program once -c config.yaml`
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from tests.fakes import HashingEngine
from tests.reliability.failpoints import Failpoints, install
from thoth_watch import cli
from thoth_watch.application.ports import Recording
from thoth_watch.bootstrap import engines
from thoth_watch.infrastructure.audio import worker_process


class SlowEngine(HashingEngine):
    """Takes so many seconds for each recording, and never ends with one that sounds like `trap`."""

    def __init__(self, seconds: float, trap: str) -> None:
        super().__init__()
        self._seconds, self._trap = seconds, trap

    def hear(self, recording: Recording) -> str:
        time.sleep(self._seconds)
        text = super().hear(recording)
        if text == self._trap:
            print("the engine hangs", flush=True)
            threading.Event().wait()
        return text


def before_worker(prelude: str) -> None:
    """Have each decode worker run some code before it begins."""
    if prelude:
        boot = worker_process._BOOT
        worker_process._BOOT = boot.replace("from thoth", f"{prelude}; from thoth", 1)


def main() -> None:
    seconds = float(os.environ.get("ENGINE_TAKES_S", "0"))
    engine = SlowEngine(seconds, os.environ.get("ENGINE_HANGS_ON", "").strip())

    def build_engine(*_: Any, **__: Any) -> SlowEngine:
        return engine

    engines.build_engine = build_engine  # type: ignore[assignment]
    before_worker(os.environ.get("WORKER_PRELUDE", ""))
    plan, trace = os.environ.get("FAILPOINT", ""), os.environ.get("FAILPOINT_TRACE")
    if plan or trace:
        install(Failpoints(plan, Path(trace) if trace else None))
    cli.main()


if __name__ == "__main__":
    main()
