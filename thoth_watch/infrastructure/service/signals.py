"""Stop on SIGTERM and SIGINT: the first lets the batch end at its next window, the second kills."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """Whether somebody asked the program to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal_name is not None


@contextmanager
def stop_on_signals(on_stop: Callable[[], None]) -> Iterator[StopFlag]:
    """Raise a flag on SIGTERM or SIGINT and call on_stop; put the old handlers back at the end.

    After the first signal the default handlers are back, so that a second one ends the process.
    """
    flag = StopFlag()
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in wanted}

    def stop(number: int, _: FrameType | None) -> None:
        flag.signal_name = signal.Signals(number).name
        for other in wanted:
            signal.signal(other, signal.SIG_DFL)
        on_stop()

    for number in wanted:
        signal.signal(number, stop)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
