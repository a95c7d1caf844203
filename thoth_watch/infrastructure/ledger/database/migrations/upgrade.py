"""Upgrade a ledger to the newest schema, in the caller's transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select
from sqlalchemy.sql import column, table

from thoth_watch.domain.errors import LedgerBroken
from thoth_watch.infrastructure.ledger.database.tables import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


def current_revision(connection: Connection) -> str | None:
    """Return the last applied migration; None before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    versions = table("alembic_version", column("version_num"))
    revision: str | None = connection.scalar(select(versions.c.version_num))
    return revision


def upgrade_to_head(connection: Connection, *, location: str) -> None:
    """Apply all missing migrations. Raises LedgerBroken for a ledger newer than the program."""
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = current_revision(connection)
    if present is not None and present not in known:
        raise wrong_version_error(location, present)
    command.upgrade(config, "head")


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for these migrations on that connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


def wrong_version_error(location: str, revision: str | None) -> LedgerBroken:
    """Return the error for a ledger whose schema is not this program's."""
    if revision is None or revision < SCHEMA_REVISION:
        return LedgerBroken(
            f"ledger {location}: was written by an older thoth-watch; `run` or `once` upgrades it"
        )
    return LedgerBroken(
        f"ledger {location}: was written by a newer thoth-watch ({revision}); upgrade thoth-watch"
    )
