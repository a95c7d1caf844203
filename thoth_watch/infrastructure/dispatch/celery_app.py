"""Celery as transport between dispatcher and workers: messages carry batch IDs, the ledger all state.

The settings were tested with kill -9 of workers and children, suspended workers, lost and repeated
messages on Redis 7.0 and RabbitMQ 3.10.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Queue

QUEUE = "thoth"
RUN_BATCH = "thoth.run_batch"
CONNECT_TIMEOUT_S = 5.0
# Redis redelivers an unacknowledged message after this time: longer than any batch takes
VISIBILITY_TIMEOUT_S = 43_200
DELIVERY_LIMIT = 20  # deliveries of a message by a RabbitMQ quorum queue


def create_app(broker: str) -> Celery:
    """Return a Celery application without tasks on a broker, Redis or RabbitMQ."""
    is_redis = broker.startswith("redis")
    app = Celery("thoth_watch", broker=broker, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,  # the ledger has the results
        task_acks_late=True,  # with the prefetch of 1: at most one message per worker
        task_reject_on_worker_lost=False,  # the ledger recovers batches and counts deaths
        task_acks_on_failure_or_timeout=True,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=300,
        worker_max_tasks_per_child=None,  # the model stays loaded
        worker_cancel_long_running_tasks_on_connection_loss=False,  # the ledger rejects stale results
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
