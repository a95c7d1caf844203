"""Settings and fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.servers import Postgres, require, running

# no deadline, as machines are shared; derandomized, so that every run uses the same examples
settings.register_profile("thoth", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("thoth")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Yield a temporary PostgreSQL server, started when the first test needs it."""
    require(binaries=("initdb", "postgres", "pg_isready"), modules=("psycopg",))
    with running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def new_postgres_ledger(postgres: Postgres) -> Callable[[], str]:
    """Return a function that creates a database with an empty ledger of the newest schema and returns its URL."""
    from thoth_watch.infrastructure.ledger import SqlLedger

    template = postgres.new_database()
    SqlLedger.open(template).close()
    return lambda: postgres.new_database(like=template)
