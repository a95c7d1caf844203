"""A ledger on a PostgreSQL server: opened, brought up to date, and worked on by one dispatcher at a time."""

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
from thoth_watch.infrastructure.ledger.column_types import to_json
from thoth_watch.infrastructure.ledger.error_translation import translate_errors
from thoth_watch.infrastructure.ledger.migrations import upgrade
from thoth_watch.infrastructure.ledger.tables import APPLICATION_ID, SCHEMA_REVISION

log = logging.getLogger(__name__)

DISPATCHER_LOCK_KEY, MIGRATION_LOCK_KEY = 1, 2  # second half of the keys of our advisory locks
CONNECT_TIMEOUT_S = 10
IDLE_IN_TRANSACTION_TIMEOUT_S = (
    30  # a process that stands still in a transaction keeps its locks no longer; < a lease
)
LOCK_TIMEOUT_S = 60
DEFAULT_DRIVERS = {"postgresql": "postgresql+psycopg"}  # what a URL means that names none


def with_default_driver(url: URL) -> URL:
    """The URL with the driver that the extra `postgres` installs, where it names none."""
    return url.set(drivername=DEFAULT_DRIVERS.get(url.drivername, url.drivername))


def open_for_writing(url: URL) -> Engine:
    """An engine on a ledger of the newest schema; tables are made where there are none."""
    engine = _engine(url)
    location = url.render_as_string(hide_password=True)
    try:
        with translate_errors(location), engine.begin() as connection:
            if upgrade.current_revision(connection) != SCHEMA_REVISION:
                # who comes second waits here, and finds it done
                connection.execute(
                    select(func.pg_advisory_xact_lock(APPLICATION_ID, MIGRATION_LOCK_KEY))
                )
                upgrade.upgrade_to_head(connection, location=location)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_for_reading(url: URL) -> Engine:
    """An engine whose transactions cannot write, on tables that are there; nothing is made or migrated."""
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
        raise RetryLater(f"ledger {location}: there is none yet; `run` or `once` makes it")
    if revision != SCHEMA_REVISION:
        raise upgrade.wrong_version_error(location, revision)


class DispatcherLock:
    """Held by the one process that looks, forms batches and takes back; it ends with its connection.

    Source: PostgreSQL manual, 13.3.5 (advisory locks of a session).
    """

    def __init__(self, url: str | URL) -> None:
        self._url = with_default_driver(make_url(url))
        self._location = self._url.render_as_string(hide_password=True)
        self._engine = _engine(self._url, pooled=False)
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        """Raises TryLater where another process has it, or the server does not answer."""
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
        """Take it again where the server was restarted. Raises TryLater where another has it now.

        While the server does not answer nobody has it, and nothing can be recorded either.
        """
        try:
            if self._connection is None:
                self._acquire()
            else:
                self._connection.execute(select(1))
        except DBAPIError as error:
            self._disconnect()
            log.debug("the lock is lost", extra={"event": "lock_lost", "error": str(error)})

    def _acquire(self) -> None:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not connection.scalar(
            select(func.pg_try_advisory_lock(APPLICATION_ID, DISPATCHER_LOCK_KEY))
        ):
            connection.close()
            raise RetryLater(
                f"ledger {self._location}: another process works on it"
                " (`thoth-watch status` names it); wait for it or stop it"
            )
        self._connection = connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
            self._connection = None


def _engine(url: URL, *, pooled: bool = True) -> Engine:
    shown = url.render_as_string(hide_password=True)
    who = f"thoth-watch {socket.gethostname()}:{os.getpid()}"
    arguments = {"application_name": who, "connect_timeout": CONNECT_TIMEOUT_S}
    pool = {"pool_pre_ping": True} if pooled else {"poolclass": NullPool}
    try:
        engine = create_engine(url, json_serializer=to_json, connect_args=arguments, **pool)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ledger.url {shown}: needs the extra postgres; pip install 'thoth-watch[postgres]'"
        ) from error
    except (NoSuchModuleError, ArgumentError) as error:
        raise ConfigError(
            f"ledger.url {shown}: {error}; use postgresql+psycopg://USER@HOST/NAME"
        ) from error
    event.listen(engine, "connect", _set_timeouts)
    return engine


def _set_timeouts(connection: Any, _: object) -> None:
    """The server ends a session whose process was stopped in a transaction: others wait for its locks."""
    limits = {
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_S,
        "lock_timeout": LOCK_TIMEOUT_S,
    }
    for name, seconds in limits.items():
        connection.execute(f"SET {name} = '{seconds}s'")
    connection.commit()
