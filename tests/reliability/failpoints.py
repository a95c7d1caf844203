"""Failpoints: places where the program can be killed or a call can fail, installed at process start.

A point is a system call or a commit of the product: `publish_steps.fsync`, `ledger.commit`. The environment
selects the action: `FAILPOINT=publish_steps.fsync:2:kill` kills the process at the second such call,
`...:ENOSPC` makes the call fail with that error, and `FAILPOINT_TRACE=file` records all points in order.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

CALLS = frozenset(
    {
        *("open", "write", "fsync", "link", "unlink", "rename", "utime"),
        *("stat", "fstat", "lstat", "scandir", "mkdir"),
    }
)
MODULES = (
    "thoth_watch.infrastructure.publishing.publisher",
    "thoth_watch.infrastructure.publishing.publish_steps",
    "thoth_watch.infrastructure.publishing.leftovers",
    "thoth_watch.infrastructure.publishing.mover",
    "thoth_watch.infrastructure.inbox.folder",
    "thoth_watch.infrastructure.inbox.local_files",
    "thoth_watch.infrastructure.audio.safe_open",
    "thoth_watch.infrastructure.files.beneath",
)
OPENAT2_MODULE = (
    "thoth_watch.infrastructure.files.beneath"  # calls it, as Python's os has no openat2
)
LEDGER_MODULE = "thoth_watch.infrastructure.ledger.database.connection"
SQLITE_ERRORS = {"ENOSPC": "SQLITE_FULL", "EDQUOT": "SQLITE_FULL", "EROFS": "SQLITE_READONLY"}


class Failpoints:
    """Counts the points that are reached and performs the planned action of one of them, once."""

    def __init__(self, plan: str = "", trace: Path | None = None) -> None:
        self.reached: list[str] = []
        self.fired = False
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._trace = trace
        self._name, self._nth, self._action = "", 0, ""
        if plan:
            self._name, nth, self._action = plan.split(":")
            self._nth = int(nth)

    def reach(self, name: str) -> str | None:
        """Count the point; return the error to fail with, if any. Does not return if the plan is a kill."""
        with self._lock:
            self.reached.append(name)
            self._counts[name] += 1
            if self._trace:
                with self._trace.open("a") as file:
                    file.write(name + "\n")
            if name != self._name or self._counts[name] != self._nth:
                return None
            self.fired = True
        if self._action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._action


class OsProxy:
    """The os module for one module of the product, with a failpoint at each call in CALLS."""

    def __init__(self, module: str, points: Failpoints) -> None:
        self._module = module.rpartition(".")[2]
        self._points = points

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        return self.wrap(name, call) if name in CALLS else call

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with a failpoint before it."""

        def call_with_failpoint(*args: Any, **kwargs: Any) -> Any:
            failure = self._points.reach(f"{self._module}.{name}")
            if failure:
                number = getattr(errno, failure)
                raise OSError(number, os.strerror(number))
            return call(*args, **kwargs)

        return call_with_failpoint


class SqliteProxy:
    """The sqlite3 module for the ledger, with a point before and after each commit that changed something."""

    def __init__(self, points: Failpoints) -> None:
        class Connection(sqlite3.Connection):
            committed = 0

            def commit(self) -> None:
                is_write = self.in_transaction and self.total_changes != self.committed
                failure = points.reach("ledger.commit") if is_write else None
                if failure:
                    self.rollback()
                    error = sqlite3.OperationalError(f"injected {failure}")
                    error.sqlite_errorname = SQLITE_ERRORS.get(failure, "SQLITE_IOERR_FSYNC")
                    raise error
                super().commit()
                self.committed = self.total_changes
                if is_write:
                    points.reach("ledger.committed")

        self._connection = Connection

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    def connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=self._connection, **kwargs)


def install(points: Failpoints) -> dict[ModuleType, dict[str, Any]]:
    """Install the points and return the replaced modules for `uninstall`."""
    before: dict[ModuleType, dict[str, Any]] = {}
    for name in MODULES:
        module = import_module(name)
        before[module] = {"os": vars(module)["os"]}
        module.os = OsProxy(name, points)  # type: ignore[attr-defined]
    files = import_module(OPENAT2_MODULE)
    before[files]["openat2"] = files.openat2
    files.openat2 = files.os.wrap("openat2", files.openat2)  # type: ignore[attr-defined]
    ledger = import_module(LEDGER_MODULE)
    before[ledger] = {"sqlite3": vars(ledger)["sqlite3"]}
    ledger.sqlite3 = SqliteProxy(points)  # type: ignore[attr-defined]
    return before


def uninstall(before: dict[ModuleType, dict[str, Any]]) -> None:
    """Restore the modules that `install` replaced."""
    for module, names in before.items():
        vars(module).update(names)
