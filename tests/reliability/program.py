"""The real program with a fake engine and the failpoints that the environment selects.

`python -m tests.reliability.program once -c config.yaml`
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from tests.fakes import HashingEngine
from tests.reliability.failpoints import Failpoints, install
from thoth_watch import cli
from thoth_watch.application.ports.audio import Recording
from thoth_watch.bootstrap import engines
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.audio import worker_process
from thoth_watch.infrastructure.inbox.watchdog_watcher import WatchdogWatcher, _EventHandler
from thoth_watch.infrastructure.publishing import leftovers


class SlowEngine(HashingEngine):
    """An engine that takes `seconds` for each recording and hangs on the one whose text is `hang_on`."""

    def __init__(self, seconds: float, hang_on: str) -> None:
        super().__init__()
        self._seconds, self._hang_on = seconds, hang_on

    def transcribe_one(self, recording: Recording) -> str:
        time.sleep(self._seconds)
        text = super().transcribe_one(recording)
        if text == self._hang_on:
            print("the engine hangs", flush=True)
            threading.Event().wait()
        return text


def set_worker_prelude(prelude: str) -> None:
    """Make each decode worker run this code before it starts."""
    if prelude:
        boot = worker_process._BOOT
        worker_process._BOOT = boot.replace("from thoth", f"{prelude}; from thoth", 1)


def break_watcher_on_signal(failure_mode: str) -> None:
    """Break watchdog on SIGUSR1 (emitters end, or the handler raises), or drop all events from the start."""
    watchers: list[WatchdogWatcher] = []
    enter, handle = WatchdogWatcher.__enter__, _EventHandler.on_any_event
    is_due = threading.Event()

    def enter_and_remember(watcher: WatchdogWatcher) -> WatchdogWatcher:
        watchers.append(watcher)
        return enter(watcher)

    def handle_or_fail(self: _EventHandler, event: Any) -> None:
        if failure_mode == "no-events":
            return
        if is_due.is_set():
            is_due.clear()
            raise RuntimeError("injected by the test")
        handle(self, event)

    def on_signal(*_: Any) -> None:
        if failure_mode == "handler":
            is_due.set()
            return
        observer = watchers[-1]._observer
        assert observer is not None
        for emitter in observer.emitters:
            emitter.stop()

    WatchdogWatcher.__enter__ = enter_and_remember  # type: ignore[method-assign]
    _EventHandler.on_any_event = handle_or_fail  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, on_signal)


def main() -> None:
    seconds = float(os.environ.get("ENGINE_TAKES_S", "0"))
    engine = SlowEngine(seconds, os.environ.get("ENGINE_HANGS_ON", "").strip())

    def build_engine(config: TranscriptionEngineConfig, **_: Any) -> SlowEngine:
        if config.model == "no-such-org/no-such-model":
            raise EngineUnavailable("model no-such-org/no-such-model: not found")
        return engine

    engines.build_engine = build_engine  # type: ignore[assignment]
    leftovers.MIN_AGE_S = float(os.environ.get("LEFTOVERS_AGE_S", leftovers.MIN_AGE_S))
    set_worker_prelude(os.environ.get("WORKER_PRELUDE", ""))
    if failure_mode := os.environ.get("WATCHER_BREAKS"):
        break_watcher_on_signal(failure_mode)
    plan, trace = os.environ.get("FAILPOINT", ""), os.environ.get("FAILPOINT_TRACE")
    if plan or trace:
        install(Failpoints(plan, Path(trace) if trace else None))
    cli.main()


if __name__ == "__main__":
    main()
