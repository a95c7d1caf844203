"""Checks of the settings for several machines: the dispatch of batches, and the shared cache."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from thoth_watch.infrastructure.settings.document import Location
from thoth_watch.infrastructure.settings.layers import MergedSettings
from thoth_watch.infrastructure.settings.schema import Document


def check_scale_out(document: Document, merged: MergedSettings) -> None:
    """Reject keys that are incompatible, and keys that need an extra that is not installed."""
    dispatch = document.dispatch
    if dispatch.is_celery and dispatch.broker is None:
        text = "missing, but dispatch.kind: celery needs it; set it to redis://HOST/0 or amqp://USER@HOST//"
        merged.add_problem(("dispatch", "broker"), text)
    if dispatch.is_celery and document.ledger.url.startswith("sqlite"):
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
    if document.dispatch.is_celery:
        yield ("dispatch", "kind"), "celery", "celery"
    if document.cache.url is not None:
        yield ("cache", "url"), "redis", "redis"
