"""One batch in a thread of its own, and whether it gets on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.fakes import FakeClock
from thoth_watch.application.ports import Claim
from thoth_watch.domain.batching import Batch
from thoth_watch.infrastructure.dispatch.local_dispatcher import LocalDispatcher

CLAIM = Claim(batch_id=1, claim_no=1, batch=Batch(()))


class SteppedBatch:
    """A batch that loads, asks, computes and ends when it is told to."""

    def __init__(self) -> None:
        self.may_ask, self.has_asked, self.may_end = (threading.Event() for _ in range(3))

    def __call__(self, claim: Claim, *, should_stop: Callable[[], bool]) -> Any:
        self.may_ask.wait(20)
        should_stop()
        self.has_asked.set()
        self.may_end.wait(20)


def test_a_batch_is_silent_from_when_it_last_asked_whether_to_stop():
    clock, stepped_batch = FakeClock(), SteppedBatch()
    dispatcher = LocalDispatcher(
        stepped_batch,
        should_stop=lambda: False,
        on_finished=lambda: None,
        monotonic_s=clock.monotonic_s,
    )
    assert dispatcher.silent_s == 0

    dispatcher.dispatch(CLAIM)
    clock.advance(100)
    assert dispatcher.silent_s == 0  # a model may take its time to load
    stepped_batch.may_ask.set()
    stepped_batch.has_asked.wait(20)
    clock.advance(7)
    assert dispatcher.silent_s == 7

    stepped_batch.may_end.set()
    assert dispatcher.wait(20)
    assert dispatcher.silent_s == 0
    dispatcher.close()
