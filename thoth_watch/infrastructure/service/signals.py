"""Handle signals: the first SIGTERM or SIGINT stops after the window, the second kills; SIGHUP reloads."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """Records the signal that requested a stop, and requests to reload."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._is_reload_requested = False

    def __call__(self) -> bool:
        """Return True if a stop was requested."""
        return self.signal_name is not None

    def take_reload_request(self) -> bool:
        """Return True if SIGHUP arrived since the last call."""
        is_requested, self._is_reload_requested = self._is_reload_requested, False
        return is_requested

    def record_signal(self, number: int) -> None:
        """Record a signal."""
        if number == signal.SIGHUP:
            self._is_reload_requested = True
        else:
            self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signals(on_signal: Callable[[], None]) -> Iterator[StopFlag]:
    """Set a flag on SIGTERM, SIGINT and SIGHUP and call on_signal; restore the old handlers at the end.

    The first stop signal restores the default handlers, so that a second one ends the process.
    """
    flag = StopFlag()
    stopping = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in (*stopping, signal.SIGHUP)}

    def handle_signal(number: int, _: FrameType | None) -> None:
        flag.record_signal(number)
        if number != signal.SIGHUP:
            for stop_signal in stopping:
                signal.signal(stop_signal, signal.SIG_DFL)
        on_signal()

    for number in before:
        signal.signal(number, handle_signal)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
