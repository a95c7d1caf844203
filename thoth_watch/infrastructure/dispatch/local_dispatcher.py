"""Run batches in one thread of this process while the main thread keeps watching."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from thoth_watch.application.ports.dispatch import EndedBatch
from thoth_watch.application.ports.ledger import Claim

log = logging.getLogger(__name__)


class LocalDispatcher:
    """Runs one batch at a time on one engine; files that arrive meanwhile join the next batch."""

    def __init__(
        self,
        transcribe: Callable[..., Any],
        *,
        should_stop: Callable[[], bool],
        on_finished: Callable[[], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transcribe = transcribe
        self._should_stop = should_stop
        self._on_finished = on_finished
        self._monotonic_s = monotonic_s
        # when the current batch last checked whether to stop
        self._last_alive_s: float | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._running: Future[Any] | None = None
        self._claim: Claim | None = None

    @property
    def engines(self) -> int:
        """Number of engines: 1."""
        return 1

    @property
    def active_claims(self) -> Sequence[Claim]:
        """The batch in the engine's thread, until `ended_batches` has returned it."""
        return () if self._claim is None else (self._claim,)

    @property
    def is_busy(self) -> bool:
        """True while a batch is running."""
        return self._running is not None and not self._running.done()

    @property
    def is_idle(self) -> bool:
        """True if no batch is running."""
        return not self.is_busy

    @property
    def silent_s(self) -> float:
        """Seconds since the current batch last checked whether to stop, as before each forward pass.

        0 without a batch and before its first check, since loading a model may take long.
        """
        last_alive_s = self._last_alive_s
        if self.is_idle or last_alive_s is None:
            return 0.0
        return self._monotonic_s() - last_alive_s

    def dispatch(self, claim: Claim) -> None:
        """Start a batch in the engine's thread."""
        self._last_alive_s, self._claim = None, claim
        self._running = self._pool.submit(self._transcribe, claim, should_stop=self._report_alive)
        self._running.add_done_callback(lambda _: self._on_finished())

    def _report_alive(self) -> bool:
        self._last_alive_s = self._monotonic_s()
        return self._should_stop()

    def ended_batches(self) -> Sequence[EndedBatch]:
        """Return the batch that has ended, once, with the error that kept it from recording its result."""
        running, claim = self._running, self._claim
        if running is None or claim is None or not running.done():
            return ()
        self._running = self._claim = None
        error = running.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return (EndedBatch(claim, error),)

    def wait(self, timeout_s: float) -> bool:
        """Wait up to that time for the current batch; return True if none is running any more."""
        if self._running is not None:
            concurrent.futures.wait([self._running], timeout=timeout_s)
        return self.is_idle

    def close(self) -> None:
        """Wait for the current batch (should_stop shortens it) and raise its error, if any."""
        self._pool.shutdown(wait=True)
        for batch in self.ended_batches():
            if batch.error is not None:
                raise batch.error
