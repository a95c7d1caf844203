"""SIGTERM and SIGINT stop: the first lets the batch end at its next window, the second kills. SIGHUP reloads."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """Whether somebody asked the program to stop, and by which signal; and whether to reload."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._is_reload_requested = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal_name is not None

    def take_reload_request(self) -> bool:
        """Whether SIGHUP came since this was asked last."""
        asked, self._is_reload_requested = self._is_reload_requested, False
        return asked

    def record_signal(self, number: int) -> None:
        """A signal has come."""
        if number == signal.SIGHUP:
            self._is_reload_requested = True
        else:
            self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signals(on_signal: Callable[[], None]) -> Iterator[StopFlag]:
    """Raise a flag on SIGTERM, SIGINT and SIGHUP and call on_signal; put the old handlers back at the end.

    After the first signal to stop the default handlers are back, so that a second one ends the process.
    """
    flag = StopFlag()
    stopping = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in (*stopping, signal.SIGHUP)}

    def handle_signal(number: int, _: FrameType | None) -> None:
        flag.record_signal(number)
        if number != signal.SIGHUP:
            for other in stopping:
                signal.signal(other, signal.SIG_DFL)
        on_signal()

    for number in before:
        signal.signal(number, handle_signal)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
