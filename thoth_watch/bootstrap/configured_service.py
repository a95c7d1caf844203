"""The steps around the main loop, as configured: engines, workers, archive, quiet hours, service manager."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from thoth_watch.bootstrap.engines import record_failed_start
from thoth_watch.bootstrap.load_settings import quiet_until
from thoth_watch.bootstrap.local_engines import LocalEngines
from thoth_watch.bootstrap.service_resources import ServiceResources
from thoth_watch.domain.errors import ConfigError

if TYPE_CHECKING:
    from thoth_watch.application.move_finished import MoveFinished
    from thoth_watch.infrastructure.dispatch.fleet_dispatcher import FleetDispatcher
    from thoth_watch.infrastructure.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConfiguredService:
    """Performs the steps of the main loop in this process, by one configuration."""

    settings: Settings
    resources: ServiceResources
    engines: LocalEngines
    fleet: FleetDispatcher | None  # of the Celery workers, if they are configured
    movers: Sequence[MoveFinished]  # one for each inbox with an archive
    reread: Callable[[], None] | None = None  # reads the configuration again after SIGHUP
    report_ready: Callable[[], None] | None = None

    def ensure_engine(self) -> None:
        """Load and check the engines of this process; the workers load their own.

        Raises EngineUnavailable, which is recorded as a failed run.
        """
        if self.fleet is None:
            with record_failed_start(
                self.settings, self.resources.ledger.runs, self.resources.clock
            ):
                self.engines.load()

    def on_ready(self) -> None:
        """Report to the caller and to the service manager that the program is ready."""
        if self.report_ready is not None:
            self.report_ready()
        self.resources.notifier.ready()

    def heartbeat(self) -> None:
        """Check the file watcher, the lock and the ledger's file; report to the service manager."""
        self.resources.folder_watcher.check()
        self.resources.check_lock()
        self.resources.ledger.check_identity()
        self.resources.notifier.alive(silent_s=self.engines.dispatcher.silent_s)

    def wants_reload(self) -> bool:
        """Return True after a SIGHUP if the new configuration is valid."""
        if self.reread is None or not self.resources.stop.take_reload_request():
            return False
        try:
            self.reread()
        except ConfigError as error:
            log.warning(
                "new configuration rejected; the old one stays in effect",
                extra={"event": "reload_refused", "error": str(error)},
            )
            return False
        self.resources.notifier.reloading()
        return True

    def quiet_until(self, now: datetime) -> datetime | None:
        """Return when the current quiet hours end, or None."""
        return quiet_until(self.settings, now)

    def monitor_workers(self) -> None:
        """Monitor the Celery workers, if they are configured."""
        if self.fleet is not None:
            self.fleet.monitor_workers()

    def move_finished(self) -> bool:
        """Move the next finished recordings to their archives; return True if more are due."""
        return any(move() for move in self.movers)

    def unload(self) -> None:
        """Unload the engines of this process."""
        self.engines.unload()
