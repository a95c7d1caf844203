"""An engine's process from the inside: takes batches over a pipe, says how it gets on, ends with its parent."""

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

from thoth_watch.application.ports import Claim
from thoth_watch.domain.errors import EngineUnavailable, ThothError
from thoth_watch.domain.states import State

HEARTBEAT_INTERVAL_S = 1.0
EXIT_PARENT_GONE = 1  # exit code of one whose parent is gone

Transcribe = Callable[..., Any]


class ParentConnection:
    """Who sent the batches; any thread may tell it something."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._last_alive_s = 0.0
        self._is_stopping = False
        self.claims: Queue[Claim | None] = Queue()

    def send(self, what: str, *facts: Any) -> None:
        """Send a message; one that finds nobody ends the process, as the batch is another's now."""
        try:
            with self._lock:
                self._connection.send((what, *facts))
        except OSError:
            os._exit(EXIT_PARENT_GONE)

    def should_stop(self) -> bool:
        """Whether the parent wants the batch to end; a sign of life."""
        now_s = time.monotonic()
        if now_s - self._last_alive_s >= HEARTBEAT_INTERVAL_S:
            self._last_alive_s = now_s
            self.send("alive")
        return self._is_stopping

    def receive_messages(self) -> None:
        """Take what it sends, until it ends: then so does this process, whatever is under way."""
        while True:
            try:
                what, *facts = self._connection.recv()
            except (EOFError, OSError):
                os._exit(EXIT_PARENT_GONE)
            if what == "stop":
                self._is_stopping = True
            elif what == "leave":
                self.claims.put(None)
            else:
                self.claims.put(*facts)


class ParentProgress:
    """What became of files is told to the parent, who shows it."""

    def __init__(self, parent: ParentConnection) -> None:
        self._parent = parent

    def begin(self, *, files: int, audio_s: float) -> None:
        """Nothing: several batches are under way at a time."""

    def advance(self, audio_s: float) -> None:
        """Nothing."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """One file has come to its end."""
        self._parent.send("finished", path, state, reason)

    def end(self) -> None:
        """Nothing."""


def serve_batches(connection: Connection, build: Callable[[ParentConnection], Transcribe]) -> None:
    """Build what carries out batches, then carry out what comes until the parent lets go.

    build raises EngineUnavailable where its engine cannot be had; a device that fails later ends the
    process after its batch is recorded, and the parent starts another one.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the parent ends us when it has finished
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
