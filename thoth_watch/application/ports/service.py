"""The port of the process that runs the main loop: its engines, workers, archive, time limits and manager."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Service(Protocol):
    """Performs the steps of the main loop that depend on how the program was configured and started."""

    def ensure_engine(self) -> None:
        """Load and check the engines of this process. Raises EngineUnavailable."""

    def on_ready(self) -> None:
        """Report that the inboxes were scanned and the engines are loaded."""

    def heartbeat(self) -> None:
        """Report that the main loop is making progress; check what it needs. Raises ThothError."""

    def wants_reload(self) -> bool:
        """Return True if the main loop must end because a new configuration was accepted."""

    def quiet_until(self, now: datetime) -> datetime | None:
        """Return when the current quiet hours end; None outside of quiet hours."""

    def monitor_workers(self) -> None:
        """Monitor the batches that run on remote workers."""

    def move_finished(self) -> bool:
        """Move finished recordings if configured; return True if more are due immediately."""

    def unload(self) -> None:
        """Unload the idle engines and release their memory; the next batch loads them again."""
