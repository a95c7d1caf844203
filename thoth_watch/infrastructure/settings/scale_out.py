"""Settings for several machines: the dispatch of batches, and the shared cache."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from thoth_watch.infrastructure.settings.document import Location
from thoth_watch.infrastructure.settings.layers import MergedSettings
from thoth_watch.infrastructure.settings.schema import Document

CELERY = "celery"


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Settings of the dispatch of batches."""

    kind: str  # local or celery
    broker: str | None  # with its password
    window_per_worker: int  # batches sent or running per live worker
    lease_s: float
    max_attempts: int  # worker deaths after which a file is quarantined

    @property
    def is_celery(self) -> bool:
        """Return True if Celery workers process the batches."""
        return self.kind == CELERY


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Settings of the transcript cache, for machines without a common ledger."""

    url: str | None
    lifetime_s: float


def build_dispatch_settings(document: Document) -> DispatchSettings:
    """Convert the `dispatch:` section."""
    section = document.dispatch
    return DispatchSettings(
        kind=section.kind,
        broker=section.broker,
        window_per_worker=section.window_per_worker,
        lease_s=section.lease_s,
        max_attempts=section.max_attempts,
    )


def build_cache_settings(document: Document) -> CacheSettings:
    """Convert the `cache:` section."""
    return CacheSettings(document.cache.url, document.cache.lifetime_s)


def check_scale_out(document: Document, merged: MergedSettings) -> None:
    """Reject keys that are incompatible, and keys that need an extra that is not installed."""
    dispatch = document.dispatch
    if dispatch.kind == CELERY and dispatch.broker is None:
        text = "missing, but dispatch.kind: celery needs it; set it to redis://HOST/0 or amqp://USER@HOST//"
        merged.add_problem(("dispatch", "broker"), text)
    if dispatch.kind == CELERY and document.ledger.url.startswith("sqlite"):
        merged.add_problem(
            ("dispatch", "kind"),
            "celery workers need a ledger on a database server, but ledger.url is a SQLite file; "
            "set ledger.url to postgresql+psycopg://USER@HOST/NAME, or dispatch.kind to local",
        )
    for at, module, extra in _required_extras(document):
        if importlib.util.find_spec(module) is None:
            command = f"pip install 'thoth-watch[{extra}]'"
            merged.add_problem(
                at, f"needs the {extra} extra, which is not installed; run {command}"
            )


def _required_extras(document: Document) -> Iterator[tuple[Location, str, str]]:
    """Yield the key, module and extra of every configured optional feature."""
    if document.ledger.url.startswith("postgresql"):
        yield ("ledger", "url"), "psycopg", "postgres"
    if document.dispatch.kind == CELERY:
        yield ("dispatch", "kind"), "celery", "celery"
    if document.cache.url is not None:
        yield ("cache", "url"), "redis", "redis"
