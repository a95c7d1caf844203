"""Send batch IDs to a Celery queue, and count the messages that no worker has taken."""

from __future__ import annotations

import logging

from celery import Celery
from kombu.exceptions import KombuError

from thoth_watch.infrastructure.dispatch.celery_app import QUEUE, RUN_BATCH

log = logging.getLogger(__name__)


class CeleryQueue:
    """A queue of batch IDs; an unreachable broker and lost messages are no errors, as the ledger has all state."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._is_unreachable = False

    def send(self, batch_id: int) -> None:
        """Put the batch ID on the queue; if that fails, the dispatcher sends it again later."""
        try:
            self._app.send_task(RUN_BATCH, args=[batch_id], retry=False, ignore_result=True)
        except (OSError, KombuError) as error:
            self._warn_once(error)
        else:
            self._is_unreachable = False

    def depth(self) -> int | None:
        """Return the number of messages that no worker has taken; None if the broker does not answer."""
        try:
            with self._app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, timeout=1)
                channel = connection.default_channel
                try:
                    return int(channel.queue_declare(QUEUE, passive=True).message_count)
                except connection.channel_errors:
                    return 0  # the queue does not exist (any more)
        except (OSError, KombuError) as error:
            self._warn_once(error)
            return None

    def _warn_once(self, error: Exception) -> None:
        """Log a warning once per outage."""
        if not self._is_unreachable:
            text = "broker unreachable; batches wait in the ledger until it answers"
            log.warning(text, extra={"event": "broker_unreachable", "error": str(error)})
        self._is_unreachable = True
