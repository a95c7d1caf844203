"""Ledgers of tests: in memory and on SQLite always, on PostgreSQL in `make test-scale`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from thoth_watch.application.ports.ledger import (
    Archive,
    BatchQueue,
    InboxLedger,
    Results,
    RunLog,
)


class Ledger(InboxLedger, BatchQueue, Results, RunLog, Archive, Protocol):
    """One ledger in all of its roles."""


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
