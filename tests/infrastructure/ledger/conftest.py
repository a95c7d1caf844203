"""Fixtures: a ledger on disk for the tests of its adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import FlatLedger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def ledger(url: str) -> Iterator[FlatLedger]:
    with FlatLedger.open(url, busy_timeout_s=0.2) as opened:
        yield opened
