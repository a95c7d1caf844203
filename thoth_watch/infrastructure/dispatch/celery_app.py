"""Celery as the wire between dispatcher and workers: the message is a batch's number, the ledger the truth.

The settings were probed with kill -9 of workers and children, stopped workers, lost and repeated
messages on Redis 7.0 and RabbitMQ 3.10.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Queue

QUEUE = "thoth"
RUN_BATCH = "thoth.run_batch"
CONNECT_TIMEOUT_S = 5.0
VISIBILITY_TIMEOUT_S = (
    43_200  # Redis gives a message that nobody acknowledged out again: after any batch
)
DELIVERY_LIMIT = 20  # of a RabbitMQ quorum queue


def create_app(broker: str) -> Celery:
    """A Celery application on that broker, Redis or RabbitMQ, that knows no task yet."""
    is_redis = broker.startswith("redis")
    app = Celery("thoth_watch", broker=broker, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,  # the ledger has the results
        task_acks_late=True,  # fairness: exactly one message per worker
        task_reject_on_worker_lost=False,  # taking back and counting deaths is the ledger's
        task_acks_on_failure_or_timeout=True,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=300,
        worker_max_tasks_per_child=None,  # the model stays loaded
        worker_cancel_long_running_tasks_on_connection_loss=False,  # late words are fenced off
        worker_hijack_root_logger=False,
        worker_send_task_events=True,  # for Flower
        task_send_sent_event=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=60,
        broker_connection_timeout=CONNECT_TIMEOUT_S,
        task_default_queue=QUEUE,
        broker_transport_options=_redis_options() if is_redis else {"confirm_publish": True},
    )
    if not is_redis:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
        app.conf.task_default_queue_type = "quorum"
        app.conf.task_queues = [Queue(QUEUE, queue_arguments=arguments)]
    return app


def _redis_options() -> dict[str, Any]:
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": 30.0,
        "socket_keepalive": True,
    }
