"""A pause after slow work, proportional to the time that the work took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from thoth_watch.application.ports.inbox import Clock

PAUSE_FACTOR = 4  # pause this many times the duration: the work takes at most a fifth of the time


class Backoff:
    """Delays repeated work by PAUSE_FACTOR times its last duration."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.next_s = -math.inf  # monotonic seconds

    @property
    def is_due(self) -> bool:
        """Return True if the pause is over."""
        return self._clock.monotonic_s() >= self.next_s

    def pause_after(self, took_s: float) -> None:
        """Start the pause after work that took `took_s` and ended now."""
        self.next_s = self._clock.monotonic_s() + PAUSE_FACTOR * took_s

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Time the work in the `with` block, then start the pause."""
        began_s = self._clock.monotonic_s()
        yield
        self.pause_after(self._clock.monotonic_s() - began_s)
