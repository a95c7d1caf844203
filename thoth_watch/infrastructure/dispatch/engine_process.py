"""The engine process: receives batches over a pipe, reports its progress, and ends with its parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue
from typing import Any

from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.errors import EngineUnavailable, ThothError
from thoth_watch.domain.states import State

HEARTBEAT_INTERVAL_S = 1.0
EXIT_PARENT_GONE = 1  # exit code of a process whose parent has died

Transcribe = Callable[..., Any]


class ParentConnection:
    """The pipe to the parent process; any thread may send messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._last_alive_s = 0.0
        self._is_stopping = False
        self.claims: Queue[Claim | None] = Queue()

    def send(self, kind: str, *values: Any) -> None:
        """Send a message; if the parent has died, exit, since another process takes the batch."""
        try:
            with self._lock:
                self._connection.send((kind, *values))
        except OSError:
            os._exit(EXIT_PARENT_GONE)

    def should_stop(self) -> bool:
        """Return True if the batch should stop, and report that this process is alive."""
        now_s = time.monotonic()
        if now_s - self._last_alive_s >= HEARTBEAT_INTERVAL_S:
            self._last_alive_s = now_s
            self.send("alive")
        return self._is_stopping

    def receive_messages(self) -> None:
        """Receive the parent's messages; exit the process, also within a batch, when the parent ends."""
        while True:
            try:
                kind, *values = self._connection.recv()
            except (EOFError, OSError):
                os._exit(EXIT_PARENT_GONE)
            if kind == "stop":
                self._is_stopping = True
            elif kind == "leave":
                self.claims.put(None)
            else:
                self.claims.put(*values)


class ParentProgress:
    """Sends the outcome of each file to the parent, which displays it."""

    def __init__(self, parent: ParentConnection) -> None:
        self._parent = parent

    def begin(self, *, files: int, audio_s: float) -> None:
        """Do nothing: several batches run at the same time."""

    def advance(self, audio_s: float) -> None:
        """Do nothing."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Send the outcome of one file to the parent."""
        self._parent.send("finished", path, state, reason)

    def end(self) -> None:
        """Do nothing."""


def serve_batches(connection: Connection, build: Callable[[ParentConnection], Transcribe]) -> None:
    """Build the function that transcribes batches, then run batches until the parent ends this process.

    build raises EngineUnavailable if its engine is unavailable. If the device fails later, the
    process ends after recording its batch, and the parent starts another one.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the parent ends this process when it has finished
    parent = ParentConnection(connection)
    threading.Thread(target=parent.receive_messages, name="parent", daemon=True).start()
    try:
        transcribe = build(parent)
    except ThothError as error:
        parent.send("unavailable", error)
        return
    parent.send("ready")
    while (claim := parent.claims.get()) is not None:
        try:
            transcribe(claim, should_stop=parent.should_stop)
        except EngineUnavailable:
            parent.send("ended", None)
            return
        except ThothError as error:
            parent.send("ended", error)
        else:
            parent.send("ended", None)
