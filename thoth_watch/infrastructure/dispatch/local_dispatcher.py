"""Batches carried out in this process, by one thread, while the main thread goes on watching."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from thoth_watch.application.ports import Claim
from thoth_watch.application.serve import EndedBatch

log = logging.getLogger(__name__)


class LocalDispatcher:
    """One batch at a time on one engine; files that wait meanwhile make the next batch fuller."""

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
        self._last_alive_s: float | None = (
            None  # when the batch under way last asked whether to stop
        )
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._running: Future[Any] | None = None
        self._claim: Claim | None = None

    @property
    def engines(self) -> int:
        """One."""
        return 1

    @property
    def active_claims(self) -> Sequence[Claim]:
        """The batch in the engine's thread, until `ended_batches` has told of its end."""
        return () if self._claim is None else (self._claim,)

    @property
    def is_busy(self) -> bool:
        """Whether a batch is under way: there is room for one."""
        return self._running is not None and not self._running.done()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.is_busy

    @property
    def silent_s(self) -> float:
        """How long ago the batch under way asked whether to stop, which it does before each forward pass.

        0 where there is none, or where it has not asked yet: a model may take its time to load.
        """
        asked_s = self._last_alive_s
        if self.is_idle or asked_s is None:
            return 0.0
        return self._monotonic_s() - asked_s

    def dispatch(self, claim: Claim) -> None:
        """Start on a batch in the engine's thread."""
        self._last_alive_s, self._claim = None, claim
        self._running = self._pool.submit(self._transcribe, claim, should_stop=self._report_alive)
        self._running.add_done_callback(lambda _: self._on_finished())

    def _report_alive(self) -> bool:
        self._last_alive_s = self._monotonic_s()
        return self._should_stop()

    def ended_batches(self) -> Sequence[EndedBatch]:
        """The batch that has ended, told once, with what it could not record in the ledger."""
        running, claim = self._running, self._claim
        if running is None or claim is None or not running.done():
            return ()
        self._running = self._claim = None
        error = running.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return (EndedBatch(claim, error),)

    def wait(self, timeout_s: float) -> bool:
        """Whether the batch that is under way came to its end within that time, or there was none."""
        if self._running is not None:
            concurrent.futures.wait([self._running], timeout=timeout_s)
        return self.is_idle

    def close(self) -> None:
        """Wait for the batch that is under way (should_stop makes it short)."""
        self._pool.shutdown(wait=True)
        for batch in self.ended_batches():
            if batch.error is not None:
                raise batch.error
