"""State of the fleet as `status` shows it: dispatcher, workers and their queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, text

from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.database.postgresql_server import DISPATCHER_LOCK_KEY
from thoth_watch.infrastructure.ledger.database.tables import (
    APPLICATION_ID,
    batches,
    files,
    workers,
)
from thoth_watch.infrastructure.ledger.database.transactions import database_now
from thoth_watch.infrastructure.ledger.leases import IS_LEASED, IS_SENT

DISPATCHER_QUERY = text(
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE locktype = 'advisory' AND classid = :ours AND objid = :dispatcher AND granted"
    " AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class FleetState:
    """The dispatcher, the remote workers and their queue at one moment."""

    dispatcher: str | None  # program, machine and process ID; None: not running
    workers: list[dict[str, Any]]  # the table's columns, silent_s, and files (count in its batch)
    sent: int  # batches sent that no worker has taken yet
    leased: int
    oldest_wait_s: float | None  # of the READY files


def read_fleet_state(connection: Connection) -> FleetState:
    """Read the fleet's state, with ages by the database's clock."""
    now = database_now(connection)
    count = func.count()
    sent = connection.execute(select(count).select_from(batches).where(IS_SENT)).scalar_one()
    leased = connection.execute(select(count).select_from(batches).where(IS_LEASED)).scalar_one()
    oldest = connection.execute(
        select(func.min(files.c.ready_at)).where(files.c.state == State.READY)
    ).scalar_one()
    held = (
        select(count)
        .select_from(files)
        .where(files.c.batch_id == workers.c.batch_id, files.c.state == State.CLAIMED)
        .scalar_subquery()
    )
    listed = connection.execute(select(workers, held.label("files")).order_by(workers.c.name))
    rows = [
        {**row, "silent_s": round((now - row["seen_at"]).total_seconds(), 1)}
        for row in listed.mappings()
    ]
    wait_s = None if oldest is None else max(0.0, (now - oldest).total_seconds())
    return FleetState(_dispatcher(connection), rows, sent, leased, wait_s)


def _dispatcher(connection: Connection) -> str | None:
    if connection.dialect.name != "postgresql":
        return None
    parameters = {"ours": APPLICATION_ID, "dispatcher": DISPATCHER_LOCK_KEY}
    name: str | None = connection.execute(DISPATCHER_QUERY, parameters).scalar()
    return name
