"""Settings that all tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.servers import Postgres, require, running

# machines are shared: no deadline; the same examples every time
settings.register_profile("thoth", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("thoth")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own, started when the first test asks for it."""
    require(binaries=("initdb", "postgres", "pg_isready"), modules=("psycopg",))
    with running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def new_postgres_ledger(postgres: Postgres) -> Callable[[], str]:
    """Makes databases that hold an empty ledger of the newest schema; gives their URLs."""
    from thoth_watch.infrastructure.ledger import SqlLedger

    template = postgres.new_database()
    SqlLedger.open(template).close()
    return lambda: postgres.new_database(like=template)
