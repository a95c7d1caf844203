"""Fixtures that run the same tests on every ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledgers import BOTH, LEDGERS
from thoth_watch.infrastructure.ledger import SqlLedger


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest) -> str:
    return LEDGERS[request.param](request)


@pytest.fixture
def ledger(url: str) -> Iterator[SqlLedger]:
    with SqlLedger.open(url) as opened:
        yield opened
