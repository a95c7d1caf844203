"""The system's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time in UTC, and a monotonic clock."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return monotonic seconds, which never run backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Suspend the calling thread for that time."""
        time.sleep(seconds)
