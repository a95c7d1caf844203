"""A Celery worker for one device: a parent that receives messages, and one child that transcribes.

The parent imports nothing that touches a GPU, since the child is forked from it. A child that dies
is replaced, and its batch is recovered when its lease expires.
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
    """Runs leased batches in the child process."""

    def run_leased_batch(self, batch_id: int) -> None:
        """Lease and run one batch.

        Raises EngineUnavailable if the worker cannot continue, RetryLater if the ledger is unavailable.
        """

    def close(self) -> None:
        """Release the engine and the lease before the child ends."""


def run_celery_worker(
    broker: str, *, name: str, create_child: Callable[[str, Callable[[], bool]], BatchRunner]
) -> int:
    """Run batches from the queue until SIGTERM, which lets the current file finish; return the exit code.

    name: worker name, unique on this machine. create_child(node, is_stopping) is called at the start
    of each child and must be fast. Returns 69 if the engine is unavailable: other workers take the
    batches.
    """
    app = create_app(broker)
    is_stopping, is_broken = multiprocessing.Event(), multiprocessing.Event()  # shared by the fork
    node = host_format(f"{name}@%h")
    children: list[BatchRunner] = []

    def run_batch(batch_id: int) -> None:
        try:
            children[0].run_leased_batch(batch_id)
        except EngineUnavailable as error:
            text = "engine unavailable; stopping this worker, another one takes the batch"
            log.warning(text, extra={"event": "engine_unavailable", "error": str(error)})
            is_broken.set()
            os.kill(os.getppid(), signal.SIGTERM)
        except RetryLater as error:
            text = "ledger unavailable; skipping the batch, another worker takes it"
            log.warning(text, extra={"event": "batch_skipped", "error": str(error)})

    def on_child_start(**_: Any) -> None:
        children[:] = [create_child(node, is_stopping.is_set)]

    def on_child_shutdown(**_: Any) -> None:
        for child in children:
            child.close()

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
        without_gossip=True,  # gossip among hundreds of workers would outweigh all other messages
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    return EXIT_UNAVAILABLE if is_broken.is_set() else int(worker.exitcode or EXIT_OK)
