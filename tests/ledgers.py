"""Ledgers of tests: in memory and on SQLite always, on PostgreSQL in `make test-scale`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from thoth_watch.application.ports.ledger import (
    Archive,
    BatchQueue,
    InboxLedger,
    Results,
    RunLog,
)
from thoth_watch.infrastructure.ledger import SqlLedger


class Ledger(InboxLedger, BatchQueue, Results, RunLog, Archive, Protocol):
    """One ledger in all of its roles."""


class FlatLedger(SqlLedger):
    """The ledger in a database, with the methods of all its roles on one object."""

    def __getattr__(self, name: str) -> Any:
        for role in vars(self).values():
            if hasattr(role, name):
                return getattr(role, name)
        raise AttributeError(name)

    @property
    def death_limit(self) -> int:
        return self.queue.death_limit

    @death_limit.setter
    def death_limit(self, value: int) -> None:
        self.queue.death_limit = value


def on_sqlite(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path') / 'ledger.db'}"


def on_postgresql(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("new_postgres_ledger")())


LEDGERS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": on_sqlite,
    "postgresql": on_postgresql,
}
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.scale)]
MEMORY = "memory"


def skip_in_memory(request: pytest.FixtureRequest) -> None:
    """Skip a test that is marked with the reason why it needs a database."""
    mark = request.node.get_closest_marker("database")
    if mark is not None:
        pytest.skip(f"needs a database: {mark.args[0]}")
