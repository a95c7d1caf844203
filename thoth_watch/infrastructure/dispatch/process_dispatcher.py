"""Run batches in several processes of this machine, each with an engine on its own device."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from thoth_watch.application.ports.dispatch import EndedBatch
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.errors import EngineUnavailable, ThothError
from thoth_watch.domain.states import State

log = logging.getLogger(__name__)

# after 1, 2 and 3 consecutive deaths; after the 4th the device is abandoned
RESTART_DELAYS_S = (1.0, 5.0, 30.0)
SHUTDOWN_TIMEOUT_S = 2.0

# called with its end of the pipe and then the arguments; see engine_process.serve_batches
Target = Callable[..., None]


@dataclass(eq=False)
class _EngineProcess:
    """A device and its current process."""

    device: str
    arguments: tuple[Any, ...]
    process: BaseProcess | None = None
    pipe: Connection | None = None
    claim: Claim | None = None
    last_alive_s: float | None = None  # when its batch last checked whether to stop
    is_ready: bool = False
    deaths: int = 0  # consecutive ones, without a finished batch between them
    problem: ThothError | None = None  # why the device is abandoned
    changed: threading.Event = field(default_factory=threading.Event)


class ProcessDispatcher:
    """Runs one process per device, gives each free one the next batch, and restarts dead ones.

    A batch ends with its process: `ended_batches` reports it, and the caller releases its files.
    """

    def __init__(
        self,
        target: Target,
        devices: Sequence[tuple[str, tuple[Any, ...]]],
        *,
        should_stop: Callable[[], bool],
        on_finished: Callable[[], None],
        on_file: Callable[[Path, State, str], None] = lambda *_: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """target: the function a process runs; spawn must be able to import it.

        devices: name of each device with the arguments of its process.
        """
        self._target = target
        self._should_stop = should_stop
        self._on_finished = on_finished
        self._on_file = on_file
        self._monotonic_s = monotonic_s
        self._engines = [_EngineProcess(device, arguments) for device, arguments in devices]
        self._lock = threading.RLock()
        self._ended: list[EndedBatch] = []
        self._is_closed = False

    def start(self) -> None:
        """Start all processes and wait until each has its engine. Raises the error of the first that fails."""
        with self._lock:
            stopped = [engine for engine in self._engines if engine.process is None]
            for engine in stopped:
                engine.deaths, engine.problem = 0, None
                self._start(engine)
        for engine in stopped:
            while not engine.is_ready and engine.problem is None and not self._should_stop():
                engine.changed.wait(1.0)
                engine.changed.clear()
        for engine in self._engines:
            if engine.problem is not None:
                raise engine.problem

    @property
    def engines(self) -> int:
        """Number of engines, without those whose device was abandoned; at least 1."""
        return sum(engine.problem is None for engine in self._engines) or 1

    @property
    def active_claims(self) -> Sequence[Claim]:
        """The batches that are running."""
        with self._lock:
            return [engine.claim for engine in self._engines if engine.claim is not None]

    @property
    def is_busy(self) -> bool:
        """True if no engine is free; an unloaded one is free."""
        with self._lock:
            return not any(_is_free(engine) for engine in self._engines)

    @property
    def is_idle(self) -> bool:
        """True if no batch is running."""
        return not self.active_claims

    @property
    def silent_s(self) -> float:
        """Longest time in seconds since a running batch checked whether to stop; 0 before the first check."""
        with self._lock:
            alive_times_s = [
                e.last_alive_s for e in self._engines if e.claim is not None and e.last_alive_s
            ]
        return self._monotonic_s() - min(alive_times_s) if alive_times_s else 0.0

    def dispatch(self, claim: Claim) -> None:
        """Give a batch to a free process; if that has just died, the batch ends with it."""
        with self._lock:
            engine = next(engine for engine in self._engines if _is_free(engine))
            engine.claim, engine.last_alive_s = claim, None
            if engine.process is None:
                self._start(engine)
            _send(engine, "batch", claim)

    def ended_batches(self) -> Sequence[EndedBatch]:
        """Return the batches that ended since the last call. Raises if every device was abandoned."""
        with self._lock:
            ended_batches, self._ended = self._ended, []
            problems = [engine.problem for engine in self._engines if engine.problem is not None]
        if len(problems) == len(self._engines) and not ended_batches:
            raise problems[0]
        return ended_batches

    def wait(self, timeout_s: float) -> bool:
        """Wait up to that time for all batches, after stopping them if should_stop; return True if none runs."""
        until_s = self._monotonic_s() + timeout_s
        if self._should_stop():
            self._send_all("stop")
        while not self.is_idle and (left_s := until_s - self._monotonic_s()) > 0:
            busy = next((e for e in self._engines if e.claim is not None), None)
            if busy is not None:
                busy.changed.wait(min(left_s, 0.1))
                busy.changed.clear()
        return self.is_idle

    def unload(self) -> None:
        """End the idle processes, which frees all of their memory."""
        with self._lock:
            idle = [e for e in self._engines if e.claim is None and e.process is not None]
            if not idle:
                return
            for engine in idle:
                _send(engine, "leave")
                engine.process, engine.pipe, engine.is_ready = None, None, False
        log.info(
            "engines unloaded after being idle; they reload with the next batch",
            extra={"event": "engine_unloaded", "engines": len(idle)},
        )

    def close(self) -> None:
        """End all processes without waiting for their batches."""
        with self._lock:
            self._is_closed = True
            processes = [e.process for e in self._engines if e.process is not None]
            self._send_all("leave")
        until_s = time.monotonic() + SHUTDOWN_TIMEOUT_S
        for process in processes:
            process.join(max(0.0, until_s - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _send_all(self, kind: str) -> None:
        with self._lock:
            for engine in self._engines:
                _send(engine, kind)

    def _start(self, engine: _EngineProcess) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        engine.process = context.Process(
            target=self._target,
            args=(theirs, *engine.arguments),
            name=f"engine {engine.device}",
            daemon=True,
        )
        engine.process.start()
        theirs.close()
        engine.pipe, engine.is_ready = ours, False
        arguments = (engine, engine.process, ours)
        threading.Thread(target=self._receive_messages, args=arguments, daemon=True).start()

    def _receive_messages(
        self, engine: _EngineProcess, process: BaseProcess, pipe: Connection
    ) -> None:
        """Handle the messages of one process until it ends."""
        while True:
            try:
                kind, *values = pipe.recv()
            except (EOFError, OSError):
                break
            self._handle_message(engine, kind, values)
        process.join()
        with self._lock:
            is_current = engine.process is process  # otherwise it was unloaded
            if is_current:
                engine.process, engine.pipe, engine.is_ready = None, None, False
                self._end_batch(engine, error=None, has_died=True)
        if is_current and not self._is_closed and engine.problem is None:
            self._restart(engine, process)
        engine.changed.set()
        self._on_finished()

    def _handle_message(self, engine: _EngineProcess, kind: str, values: Sequence[Any]) -> None:
        """Handle one message of a process."""
        with self._lock:
            if kind == "alive":
                engine.last_alive_s = self._monotonic_s()
            elif kind == "ready":
                engine.is_ready = True
            elif kind == "unavailable":
                engine.problem = values[0]
            elif kind == "ended":
                engine.deaths = 0
                self._end_batch(engine, error=values[0])
        if kind == "finished":
            self._on_file(*values)
        elif kind != "alive":
            engine.changed.set()
            self._on_finished()

    def _end_batch(
        self, engine: _EngineProcess, *, error: Exception | None, has_died: bool = False
    ) -> None:
        claim, engine.claim = engine.claim, None
        if claim is not None:
            unavailable = engine.problem if has_died else None
            # an unavailable engine is not the fault of a file
            is_death = has_died and unavailable is None
            self._ended.append(EndedBatch(claim, error or unavailable, has_died=is_death))

    def _restart(self, engine: _EngineProcess, process: BaseProcess) -> None:
        engine.deaths += 1
        log.warning(
            "engine process died; restarting it unless it keeps dying",
            extra={"event": "engine_died", "device": engine.device, "exit_code": process.exitcode},
        )
        if engine.deaths > len(RESTART_DELAYS_S):
            text = f"its process died {engine.deaths} times in a row; check the log and the device"
            engine.problem = EngineUnavailable(f"{engine.device}: {text}")
            return
        self._on_finished()  # its batch need not wait for the delay
        time.sleep(RESTART_DELAYS_S[engine.deaths - 1])
        with self._lock:
            if not self._is_closed and engine.process is None:
                self._start(engine)


def _is_free(engine: _EngineProcess) -> bool:
    is_unloaded = engine.process is None and engine.deaths == 0
    return engine.claim is None and engine.problem is None and (engine.is_ready or is_unloaded)


def _send(engine: _EngineProcess, kind: str, *values: Any) -> None:
    if engine.pipe is not None:
        try:
            engine.pipe.send((kind, *values))
        except OSError:
            return  # it has died; `_receive_messages` handles that
