"""How often what takes long may be done."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from thoth_watch.application.ports import Clock

PAUSE_FACTOR = 4  # times as long as it took: it costs a fifth of the time at most


class Backoff:
    """Lets a thing be done again only so much later as it took long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.next_s = -math.inf  # monotonic seconds

    @property
    def is_due(self) -> bool:
        """Whether it may be done now."""
        return self._clock.monotonic_s() >= self.next_s

    def pause_after(self, took_s: float) -> None:
        """It was done just now."""
        self.next_s = self._clock.monotonic_s() + PAUSE_FACTOR * took_s

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Around the thing that is done."""
        began_s = self._clock.monotonic_s()
        yield
        self.pause_after(self._clock.monotonic_s() - began_s)
