"""A batch in its own thread, and the time since its last progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.fakes import FakeClock
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.batching import Batch
from thoth_watch.infrastructure.dispatch.local_dispatcher import LocalDispatcher

CLAIM = Claim(batch_id=1, claim_no=1, batch=Batch(()))


class SteppedBatch:
    """A batch that checks whether to stop, and ends, when the test allows it."""

    def __init__(self) -> None:
        self.may_check, self.has_checked, self.may_end = (threading.Event() for _ in range(3))

    def __call__(self, claim: Claim, *, should_stop: Callable[[], bool]) -> Any:
        self.may_check.wait(20)
        should_stop()
        self.has_checked.set()
        self.may_end.wait(20)


def test_silence_is_counted_from_the_last_check_whether_to_stop():
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
    assert dispatcher.silent_s == 0  # loading a model may take long
    stepped_batch.may_check.set()
    stepped_batch.has_checked.wait(20)
    clock.advance(7)
    assert dispatcher.silent_s == 7

    stepped_batch.may_end.set()
    assert dispatcher.wait(20)
    assert dispatcher.silent_s == 0
    dispatcher.close()
