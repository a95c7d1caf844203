"""A Celery worker for one device: a parent that listens, and one child that transcribes.

The parent imports nothing that touches a GPU, since the child is forked from it; a child that dies
is replaced, and what it held comes back by its lease.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from celery import signals
from celery.utils.nodenames import host_format

from thoth_watch.domain.errors import EXIT_OK, EXIT_UNAVAILABLE, EngineUnavailable, RetryLater
from thoth_watch.infrastructure.dispatch.celery_app import QUEUE, RUN_BATCH, create_app

log = logging.getLogger(__name__)


class BatchRunner(Protocol):
    """What the child does."""

    def run_leased_batch(self, batch_id: int) -> None:
        """One batch. Raises EngineUnavailable where it cannot go on, TryLater for the ledger."""

    def close(self) -> None:
        """The child ends."""


def run_celery_worker(
    broker: str, *, name: str, create_child: Callable[[str, Callable[[], bool]], BatchRunner]
) -> int:
    """Work off the queue until SIGTERM, which lets the file under way end; the exit code.

    name: of this worker on this machine. begin(node, is_stopping) is called in each child at its
    start and must be quick. Exits 69 where the engine cannot be had: others take the batches.
    """
    app = create_app(broker)
    is_stopping, is_broken = multiprocessing.Event(), multiprocessing.Event()  # shared by the fork
    node = host_format(f"{name}@%h")
    children: list[BatchRunner] = []

    def run_batch(batch_id: int) -> None:
        try:
            children[0].run_leased_batch(batch_id)
        except EngineUnavailable as error:
            text = "this worker has no engine and ends; its batch is sent to others"
            log.warning(text, extra={"event": "no_engine", "error": str(error)})
            is_broken.set()
            os.kill(os.getppid(), signal.SIGTERM)
        except RetryLater as error:
            text = "the batch is left to others"
            log.warning(text, extra={"event": "batch_left", "error": str(error)})

    def on_child_start(**_: Any) -> None:
        children[:] = [create_child(node, is_stopping.is_set)]

    def on_child_shutdown(**_: Any) -> None:
        for each in children:
            each.close()

    def on_worker_shutting_down(**_: Any) -> None:
        is_stopping.set()

    app.task(name=RUN_BATCH)(run_batch)
    signals.worker_process_init.connect(on_child_start, weak=False)
    signals.worker_process_shutdown.connect(on_child_shutdown, weak=False)
    signals.worker_shutting_down.connect(on_worker_shutting_down, weak=False)
    worker = app.Worker(
        hostname=node,
        pool_cls="prefork",
        concurrency=1,
        queues=QUEUE,
        without_gossip=True,  # with hundreds of workers they would talk of nothing else
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    return EXIT_UNAVAILABLE if is_broken.is_set() else int(worker.exitcode or EXIT_OK)
