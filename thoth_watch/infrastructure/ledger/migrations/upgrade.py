"""Brings a ledger to the newest schema, in the transaction that the caller has open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select
from sqlalchemy.sql import column, table

from thoth_watch.domain.errors import LedgerBroken
from thoth_watch.infrastructure.ledger.tables import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


def current_revision(connection: Connection) -> str | None:
    """The last migration that was applied; None before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    versions = table("alembic_version", column("version_num"))
    found: str | None = connection.scalar(select(versions.c.version_num))
    return found


def upgrade_to_head(connection: Connection, *, location: str) -> None:
    """Apply every migration that is missing. Raises LedgerBroken for a ledger newer than the program."""
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = current_revision(connection)
    if present is not None and present not in known:
        raise wrong_version_error(location, present)
    command.upgrade(config, "head")


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for our migrations on that connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


def wrong_version_error(location: str, revision: str | None) -> LedgerBroken:
    """What to say of a ledger whose schema is not this program's."""
    if revision is None or revision < SCHEMA_REVISION:
        return LedgerBroken(
            f"ledger {location}: is of an older thoth-watch; `run` or `once` brings it up to date"
        )
    return LedgerBroken(
        f"ledger {location}: is of a newer thoth-watch ({revision}); update this one"
    )
