"""Settings of more than one machine: who carries batches out, and the cache they share."""

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
    """Who carries out batches."""

    kind: str  # local or celery
    broker: str | None  # with its password
    window_per_worker: int  # batches on their way or worked on, for each worker that lives
    lease_s: float
    max_attempts: int  # deaths of workers that one file may be there at

    @property
    def is_celery(self) -> bool:
        """Whether workers elsewhere do."""
        return self.kind == CELERY


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where transcripts are shared by machines that share no ledger."""

    url: str | None
    lifetime_s: float


def build_dispatch_settings(document: Document) -> DispatchSettings:
    """`dispatch:` as the program uses it."""
    section = document.dispatch
    return DispatchSettings(
        kind=section.kind,
        broker=section.broker,
        window_per_worker=section.window_per_worker,
        lease_s=section.lease_s,
        max_attempts=section.max_attempts,
    )


def build_cache_settings(document: Document) -> CacheSettings:
    """`cache:` as the program uses it."""
    return CacheSettings(document.cache.url, document.cache.lifetime_s)


def check_scale_out(document: Document, merged: MergedSettings) -> None:
    """Refuse what cannot work together, and what needs an extra that is not installed."""
    dispatch = document.dispatch
    if dispatch.kind == CELERY and dispatch.broker is None:
        text = "celery needs one; set it to redis://HOST/0 or amqp://USER@HOST//"
        merged.add_problem(("dispatch", "broker"), text)
    if dispatch.kind == CELERY and document.ledger.url.startswith("sqlite"):
        merged.add_problem(
            ("dispatch", "kind"),
            "celery's workers share a ledger on a server, and SQLite is a file of one machine; "
            "set ledger.url to postgresql+psycopg://USER@HOST/NAME, or dispatch.kind to local",
        )
    for at, module, extra in _required_extras(document):
        if importlib.util.find_spec(module) is None:
            command = f"pip install 'thoth-watch[{extra}]'"
            merged.add_problem(at, f"needs the extra {extra}, which is not installed; {command}")


def _required_extras(document: Document) -> Iterator[tuple[Location, str, str]]:
    """Key, module and extra of everything that is asked for beyond the plain program."""
    if document.ledger.url.startswith("postgresql"):
        yield ("ledger", "url"), "psycopg", "postgres"
    if document.dispatch.kind == CELERY:
        yield ("dispatch", "kind"), "celery", "celery"
    if document.cache.url is not None:
        yield ("cache", "url"), "redis", "redis"
