from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from tests.contracts.test_ledger_contract import make_ready, recording
from tests.ledgers import BOTH, LEDGERS, FlatLedger
from thoth_watch.infrastructure.ledger.database.migrations import upgrade
from thoth_watch.infrastructure.ledger.database.tables import metadata


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest) -> str:
    return LEDGERS[request.param](request)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    with FlatLedger.open(url) as ledger:
        yield ledger.engine


def test_the_migrations_build_the_defined_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_downgrading_and_upgrading_restores_the_schema(engine: Engine, url: str) -> None:
    with engine.begin() as connection:
        command.downgrade(upgrade.alembic_config(connection), "base")
        remaining = set(inspect(connection).get_table_names()) | set(
            inspect(connection).get_view_names()
        )
        assert remaining == {"alembic_version"}
        upgrade.upgrade_to_head(connection, location="here")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    with FlatLedger.open(url) as ledger:
        assert len(make_ready(ledger, recording())) == 1


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_upgrading_an_older_ledger_keeps_its_rows(engine: Engine, url: str, revision: str) -> None:
    with FlatLedger.open(url) as ledger:
        make_ready(ledger, recording())
    with engine.begin() as connection:
        command.downgrade(upgrade.alembic_config(connection), revision)
    with FlatLedger.open(url) as ledger:
        (waiting,) = ledger.waiting(lambda _: None)
        assert waiting.file == recording()
