"""Builds the ledger, the dispatcher's lock, the Celery dispatcher and the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoth_watch.application.ports.publishing import TranscriptCache
    from thoth_watch.infrastructure.dispatch.celery_queue import CeleryQueue
    from thoth_watch.infrastructure.dispatch.fleet_dispatcher import FleetDispatcher
    from thoth_watch.infrastructure.ledger import SqlLedger
    from thoth_watch.infrastructure.settings import Settings

MONITOR_INTERVAL_S = 1.0  # between two checks of the workers


@contextmanager
def dispatcher_lock(settings: Settings) -> Iterator[Callable[[], None]]:
    """Hold the lock of the only process that scans and forms batches for this ledger.

    Yields a function that checks that the lock is still held. Raises RetryLater if another process
    holds it: on this machine for SQLite, on any machine for a server.
    """
    from thoth_watch.infrastructure.ledger.database.connection import lock_path
    from thoth_watch.infrastructure.ledger.database.postgresql_server import DispatcherLock
    from thoth_watch.infrastructure.service.lock import ProcessLock

    if settings.ledger_url.startswith("sqlite"):
        with ProcessLock(lock_path(settings.ledger_url)):
            yield lambda: None
    else:
        with DispatcherLock(settings.ledger_url) as lock:
            yield lock.ensure_held


def open_ledger(settings: Settings) -> SqlLedger:
    """Open the ledger with the configured limit of worker deaths per file."""
    from thoth_watch.infrastructure.ledger import SqlLedger

    if not settings.dispatch.is_celery:
        return SqlLedger.open(settings.ledger_url)
    return SqlLedger.open(settings.ledger_url, death_limit=settings.dispatch.max_attempts)


def build_wire(settings: Settings) -> CeleryQueue:
    """Build the queue that sends batch numbers to the workers."""
    from thoth_watch.infrastructure.dispatch.celery_app import create_app
    from thoth_watch.infrastructure.dispatch.celery_queue import CeleryQueue

    return CeleryQueue(create_app(str(settings.dispatch.broker)))


def build_fleet(settings: Settings, ledger: SqlLedger) -> FleetDispatcher:
    """Build the dispatcher that sends batches to Celery workers."""
    from thoth_watch.infrastructure.dispatch.fleet_dispatcher import FleetDispatcher
    from thoth_watch.infrastructure.service.clock import SystemClock

    clock = SystemClock()
    return FleetDispatcher(
        ledger.leases,
        build_wire(settings),
        recover_claims=lambda: ledger.queue.recover_claims(now=clock.now()),
        window_per_worker=settings.dispatch.window_per_worker,
        lease_s=settings.dispatch.lease_s,
    )


def build_cache(settings: Settings) -> TranscriptCache | None:
    """Build the configured transcript cache; None if there is none."""
    if settings.cache.url is None:
        return None
    from thoth_watch.infrastructure.cache import RedisCache
    from thoth_watch.infrastructure.ledger.database.transcript_json import (
        result_from_json,
        result_to_json,
    )

    return RedisCache(
        settings.cache.url,
        serialize=result_to_json,
        deserialize=result_from_json,
        lifetime_s=settings.cache.lifetime_s,
    )
