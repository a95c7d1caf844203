"""A ledger on a PostgreSQL server: opening, migration, and the lock of its single dispatcher."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from thoth_watch.domain.errors import ConfigError, RetryLater
from thoth_watch.infrastructure.ledger.database.column_types import to_json
from thoth_watch.infrastructure.ledger.database.error_translation import translate_errors
from thoth_watch.infrastructure.ledger.database.migrations import upgrade
from thoth_watch.infrastructure.ledger.database.tables import APPLICATION_ID, SCHEMA_REVISION

log = logging.getLogger(__name__)

DISPATCHER_LOCK_KEY, MIGRATION_LOCK_KEY = 1, 2  # second key of our advisory locks
CONNECT_TIMEOUT_S = 10
# a suspended process loses its locks after this time, which is shorter than a lease
IDLE_IN_TRANSACTION_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 60
DEFAULT_DRIVERS = {"postgresql": "postgresql+psycopg"}  # for URLs that name no driver


def with_default_driver(url: URL) -> URL:
    """Return the URL with the driver of the `postgres` extra if it names none."""
    return url.set(drivername=DEFAULT_DRIVERS.get(url.drivername, url.drivername))


def open_for_writing(url: URL) -> Engine:
    """Open a ledger for writing; create or upgrade its tables to the newest schema."""
    engine = _engine(url)
    location = url.render_as_string(hide_password=True)
    try:
        with translate_errors(location), engine.begin() as connection:
            if upgrade.current_revision(connection) != SCHEMA_REVISION:
                # a second process waits here until the first has migrated
                connection.execute(
                    select(func.pg_advisory_xact_lock(APPLICATION_ID, MIGRATION_LOCK_KEY))
                )
                upgrade.upgrade_to_head(connection, location=location)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_for_reading(url: URL) -> Engine:
    """Open an existing ledger read-only; nothing is created or migrated."""
    engine = _engine(url).execution_options(postgresql_readonly=True)
    location = url.render_as_string(hide_password=True)
    try:
        with translate_errors(location), engine.begin() as connection:
            _check_revision(upgrade.current_revision(connection), location)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_revision(revision: str | None, location: str) -> None:
    if revision is None:
        raise RetryLater(f"ledger {location}: does not exist yet; `run` or `once` creates it")
    if revision != SCHEMA_REVISION:
        raise upgrade.wrong_version_error(location, revision)


class DispatcherLock:
    """Lock of the one process that scans, forms batches and recovers claims; ends with its connection.

    Source: PostgreSQL manual, 13.3.5 (advisory locks of a session).
    """

    def __init__(self, url: str | URL) -> None:
        self._url = with_default_driver(make_url(url))
        self._location = self._url.render_as_string(hide_password=True)
        self._engine = _engine(self._url, pooled=False)
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        """Acquire the lock. Raises RetryLater if another process holds it or the server does not answer."""
        with translate_errors(self._location):
            self._acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._disconnect()
        self._engine.dispose()

    def ensure_held(self) -> None:
        """Acquire the lock again after a server restart. Raises RetryLater if another process holds it.

        A server that does not answer is no error: no process holds the lock or can write then.
        """
        try:
            if self._connection is None:
                self._acquire()
            else:
                self._connection.execute(select(1))
        except DBAPIError as error:
            self._disconnect()
            text = "dispatcher lock lost; acquiring it again"
            log.debug(text, extra={"event": "lock_lost", "error": str(error)})

    def _acquire(self) -> None:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not connection.scalar(
            select(func.pg_try_advisory_lock(APPLICATION_ID, DISPATCHER_LOCK_KEY))
        ):
            connection.close()
            raise RetryLater(
                f"ledger {self._location}: in use by another process"
                " (`thoth-watch status` shows which); wait for it or stop it"
            )
        self._connection = connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
            self._connection = None


def _engine(url: URL, *, pooled: bool = True) -> Engine:
    location = url.render_as_string(hide_password=True)
    name = f"thoth-watch {socket.gethostname()}:{os.getpid()}"
    arguments = {"application_name": name, "connect_timeout": CONNECT_TIMEOUT_S}
    pool = {"pool_pre_ping": True} if pooled else {"poolclass": NullPool}
    try:
        engine = create_engine(url, json_serializer=to_json, connect_args=arguments, **pool)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ledger.url {location}: needs the postgres extra; pip install 'thoth-watch[postgres]'"
        ) from error
    except (NoSuchModuleError, ArgumentError) as error:
        raise ConfigError(
            f"ledger.url {location}: {error}; use postgresql+psycopg://USER@HOST/NAME"
        ) from error
    event.listen(engine, "connect", _set_timeouts)
    return engine


def _set_timeouts(connection: Any, _: object) -> None:
    """Set the session's time limits.

    The server then ends the session of a process that was suspended in a transaction, which would
    otherwise keep its locks.
    """
    limits = {
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_S,
        "lock_timeout": LOCK_TIMEOUT_S,
    }
    for name, seconds in limits.items():
        connection.execute(f"SET {name} = '{seconds}s'")
    connection.commit()
