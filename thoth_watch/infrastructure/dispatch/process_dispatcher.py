"""Batches carried out by several processes of this machine, each with an engine on a device of its own."""

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

from thoth_watch.application.ports import Claim
from thoth_watch.application.serve import EndedBatch
from thoth_watch.domain.errors import EngineUnavailable, ThothError
from thoth_watch.domain.states import State

log = logging.getLogger(__name__)

RESTART_DELAYS_S = (1.0, 5.0, 30.0)  # after so many deaths in a row; one more gives the device up
SHUTDOWN_TIMEOUT_S = 2.0

Target = Callable[
    ..., None
]  # gets its end of the pipe and then the arguments; see engine_process.work


@dataclass(eq=False)
class _EngineProcess:
    """One device, and the process that works on it now."""

    device: str
    arguments: tuple[Any, ...]
    process: BaseProcess | None = None
    pipe: Connection | None = None
    claim: Claim | None = None
    last_alive_s: float | None = None  # when its batch last asked whether to stop
    is_ready: bool = False
    deaths: int = 0  # in a row, without a batch between them
    problem: ThothError | None = None  # why it is given up
    changed: threading.Event = field(default_factory=threading.Event)


class ProcessDispatcher:
    """A process for each device, which gets the next batch when it is free, and another one when it dies.

    A batch dies with its process: `ended_batches` says so, and whoever asks gives its files back.
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
        """target: what a process runs, as spawn can find it again. devices: names, and its arguments for each."""
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
        """Start all processes and wait until each has its engine. Raises what is in the way of one."""
        with self._lock:
            idle = [engine for engine in self._engines if engine.process is None]
            for engine in idle:
                engine.deaths, engine.problem = 0, None
                self._start(engine)
        for engine in idle:
            while not engine.is_ready and engine.problem is None and not self._should_stop():
                engine.changed.wait(1.0)
                engine.changed.clear()
        for engine in self._engines:
            if engine.problem is not None:
                raise engine.problem

    @property
    def engines(self) -> int:
        """How many there are, but for those whose device failed for good."""
        return sum(engine.problem is None for engine in self._engines) or 1

    @property
    def active_claims(self) -> Sequence[Claim]:
        """The batches that some process has."""
        with self._lock:
            return [engine.claim for engine in self._engines if engine.claim is not None]

    @property
    def is_busy(self) -> bool:
        """Whether no process is free (one that was sent to sleep is)."""
        with self._lock:
            return not any(_is_free(engine) for engine in self._engines)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.active_claims

    @property
    def silent_s(self) -> float:
        """How long ago the batch that says least asked whether to stop; 0 where none has asked yet."""
        with self._lock:
            last_alive_s = [
                e.last_alive_s for e in self._engines if e.claim is not None and e.last_alive_s
            ]
        return self._monotonic_s() - min(last_alive_s) if last_alive_s else 0.0

    def dispatch(self, claim: Claim) -> None:
        """Give a batch to a process that is free; one that died meanwhile takes it along."""
        with self._lock:
            engine = next(engine for engine in self._engines if _is_free(engine))
            engine.claim, engine.last_alive_s = claim, None
            if engine.process is None:
                self._start(engine)
            _send(engine, "batch", claim)

    def ended_batches(self) -> Sequence[EndedBatch]:
        """The batches that ended since this was asked last. Raises what keeps every device from working."""
        with self._lock:
            ended_batches, self._ended = self._ended, []
            problems = [engine.problem for engine in self._engines if engine.problem is not None]
        if len(problems) == len(self._engines) and not ended_batches:
            raise problems[0]
        return ended_batches

    def wait(self, timeout_s: float) -> bool:
        """Whether all batches came to their end within that time; they are told to, where that is wanted."""
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
        """End the processes that have nothing to do: that gives all of their memory back."""
        with self._lock:
            resting = [e for e in self._engines if e.claim is None and e.process is not None]
            if not resting:
                return
            for engine in resting:
                _send(engine, "leave")
                engine.process, engine.pipe, engine.is_ready = None, None, False
        log.info(
            "engines unloaded, as nothing was to be done; the next batch starts one again",
            extra={"event": "engine_unloaded", "engines": len(resting)},
        )

    def close(self) -> None:
        """End all processes; what is under way is not waited for."""
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

    def _send_all(self, what: str) -> None:
        with self._lock:
            for engine in self._engines:
                _send(engine, what)

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
        listener = (engine, engine.process, ours)
        threading.Thread(target=self._receive_messages, args=listener, daemon=True).start()

    def _receive_messages(
        self, engine: _EngineProcess, process: BaseProcess, pipe: Connection
    ) -> None:
        """Take what one process says, until it ends."""
        while True:
            try:
                what, *facts = pipe.recv()
            except (EOFError, OSError):
                break
            self._handle_message(engine, what, facts)
        process.join()
        with self._lock:
            is_current = engine.process is process  # else it was sent to sleep
            if is_current:
                engine.process, engine.pipe, engine.is_ready = None, None, False
                self._end_batch(engine, error=None, has_died=True)
        if is_current and not self._is_closed and engine.problem is None:
            self._restart(engine, process)
        engine.changed.set()
        self._on_finished()

    def _handle_message(self, engine: _EngineProcess, what: str, facts: Sequence[Any]) -> None:
        """One message of a process."""
        with self._lock:
            if what == "alive":
                engine.last_alive_s = self._monotonic_s()
            elif what == "ready":
                engine.is_ready = True
            elif what == "unavailable":
                engine.problem = facts[0]
            elif what == "ended":
                engine.deaths = 0
                self._end_batch(engine, error=facts[0])
        if what == "finished":
            self._on_file(*facts)
        elif what != "alive":
            engine.changed.set()
            self._on_finished()

    def _end_batch(
        self, engine: _EngineProcess, *, error: Exception | None, has_died: bool = False
    ) -> None:
        claim, engine.claim = engine.claim, None
        if claim is not None:
            unavailable = engine.problem if has_died else None
            is_death = (
                has_died and unavailable is None
            )  # an engine that cannot be had is no file's fault
            self._ended.append(EndedBatch(claim, error or unavailable, has_died=is_death))

    def _restart(self, engine: _EngineProcess, process: BaseProcess) -> None:
        engine.deaths += 1
        log.warning(
            "an engine's process ended; another one takes its place",
            extra={"event": "engine_died", "device": engine.device, "exit_code": process.exitcode},
        )
        if engine.deaths > len(RESTART_DELAYS_S):
            text = f"{engine.device}: its process died {engine.deaths} times in a row; given up"
            engine.problem = EngineUnavailable(text)
            return
        self._on_finished()  # its batch need not wait for this
        time.sleep(RESTART_DELAYS_S[engine.deaths - 1])
        with self._lock:
            if not self._is_closed and engine.process is None:
                self._start(engine)


def _is_free(engine: _EngineProcess) -> bool:
    is_asleep = engine.process is None and engine.deaths == 0
    return engine.claim is None and engine.problem is None and (engine.is_ready or is_asleep)


def _send(engine: _EngineProcess, what: str, *facts: Any) -> None:
    if engine.pipe is not None:
        try:
            engine.pipe.send((what, *facts))
        except OSError:
            return  # it has died: whoever listens to it says so
