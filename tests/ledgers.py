"""Databases for the ledgers of tests: SQLite always, PostgreSQL in `make test-scale`."""

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
