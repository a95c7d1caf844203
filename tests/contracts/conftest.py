"""Fixtures that run the same tests on every ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledgers import BOTH, LEDGERS, MEMORY, FlatLedger, skip_in_memory
from tests.memory_ledger import MemoryLedger


@pytest.fixture(params=[*BOTH, MEMORY])
def store(request: pytest.FixtureRequest) -> str:
    if request.param == MEMORY:
        skip_in_memory(request)
    return str(request.param)


@pytest.fixture
def url(request: pytest.FixtureRequest, store: str) -> str:
    return LEDGERS[store](request)


@pytest.fixture
def ledger(request: pytest.FixtureRequest, store: str) -> Iterator[FlatLedger | MemoryLedger]:
    if store == MEMORY:
        yield MemoryLedger()
        return
    with FlatLedger.open(request.getfixturevalue("url")) as opened:
        yield opened
