"""Sends batches' numbers to a Celery queue, and counts those that nobody has taken."""

from __future__ import annotations

import logging

from celery import Celery
from kombu.exceptions import KombuError

from thoth_watch.infrastructure.dispatch.celery_app import QUEUE, RUN_BATCH

log = logging.getLogger(__name__)


class CeleryQueue:
    """The broker may be away, and may forget: neither is an error, since the ledger knows."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._is_unreachable = False

    def send(self, batch_id: int) -> None:
        """Put the number on the queue; where that fails it is sent again some other time."""
        try:
            self._app.send_task(RUN_BATCH, args=[batch_id], retry=False, ignore_result=True)
        except (OSError, KombuError) as error:
            self._warn_once(error)
        else:
            self._is_unreachable = False

    def depth(self) -> int | None:
        """Messages that no worker has taken; None where the broker does not say."""
        try:
            with self._app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, timeout=1)
                channel = connection.default_channel
                try:
                    return int(channel.queue_declare(QUEUE, passive=True).message_count)
                except connection.channel_errors:
                    return 0  # there is no such queue (any more)
        except (OSError, KombuError) as error:
            self._warn_once(error)
            return None

    def _warn_once(self, error: Exception) -> None:
        """Said once until it answers again."""
        if not self._is_unreachable:
            text = "the broker does not answer; batches wait in the ledger"
            log.warning(text, extra={"event": "broker_away", "error": str(error)})
        self._is_unreachable = True
