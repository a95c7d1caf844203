"""When to look at the inboxes, and at how much: at all of them by the clock, else at what an event names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from thoth_watch.application.pace import Pace
from thoth_watch.application.ports import Clock, Doorbell
from thoth_watch.application.watch_inbox import WatchInbox


class LookAround:
    """Looks over all inboxes of a program, so that a huge one costs no more than it must.

    What an event names, and what waits for its copy to finish, is looked at alone. The whole is
    seen at least every `rescan_s`, and whenever an event cannot say what changed.
    """

    def __init__(
        self,
        inboxes: Sequence[WatchInbox],
        *,
        doorbell: Doorbell,
        clock: Clock,
        rescan_s: float,
    ) -> None:
        self._inboxes = inboxes
        self._doorbell = doorbell
        self._clock = clock
        self._rescan_s = rescan_s
        self._whole, self._glance = Pace(clock), Pace(clock)
        self._rescan_at_s = -math.inf
        self._must_see_all = True
        self._named: set[Path] = set()

    def look(self) -> bool:
        """Look at what is due; whether it was the whole of every inbox.

        What could not be recorded is made up for by a look at the whole.
        """
        try:
            return self._look()
        except Exception:
            self._must_see_all = True
            raise

    def _look(self) -> bool:
        if self.has_more:
            for inbox in self._inboxes:
                if inbox.has_more:
                    inbox.tick()
            return False
        self._listen()
        if self._must_see_all and self._whole.is_due:
            self._look_at_all()
            return True
        if self._glance.is_due:
            self._look_at_some()
        return False

    @property
    def has_more(self) -> bool:
        """Whether the last look found more settled files than were taken up at once."""
        return any(inbox.has_more for inbox in self._inboxes)

    @property
    def n_told(self) -> int:
        """How many looks had anything to tell the ledger."""
        return sum(inbox.n_told for inbox in self._inboxes)

    def see_all(self) -> None:
        """The next look is one at the whole, as soon as that may be: a drain ends after it."""
        self._must_see_all = True

    def _listen(self) -> None:
        named = self._doorbell.changed()
        is_over = self._clock.monotonic_s() >= self._rescan_at_s
        self._named |= set(named or ())
        self._must_see_all |= named is None or is_over

    def _look_at_all(self) -> None:
        self._rescan_at_s = self._clock.monotonic_s() + self._rescan_s
        self._must_see_all, self._named = False, set()
        for inbox in self._inboxes:
            inbox.tick()
        self._whole.pause_after(self._took_s())

    def _look_at_some(self) -> None:
        named, self._named = self._named, set()
        for inbox in self._inboxes:
            here = {path for path in named if path.is_relative_to(inbox.root)}
            if not inbox.glance(here):
                self._must_see_all = True
        self._glance.pause_after(self._took_s())

    def _took_s(self) -> float:
        return sum(inbox.look_s for inbox in self._inboxes)

    def next_s(self) -> float:
        """Monotonic seconds at which the next look is due."""
        due = [self._rescan_at_s]
        if self._must_see_all:
            due.append(self._whole.next_s)
        if self._named:
            due.append(self._glance.next_s)
        settles_s = [at_s for inbox in self._inboxes if (at_s := inbox.next_s()) is not None]
        due += [max(at_s, self._glance.next_s) for at_s in settles_s]
        return min(due)
