"""Builds the main loop of the daemon and of `once`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thoth_watch.application.ports.dispatch import Dispatcher
from thoth_watch.application.ports.engine import NullProgress, Progress
from thoth_watch.bootstrap.configured_service import ConfiguredService
from thoth_watch.bootstrap.dispatchers import MONITOR_INTERVAL_S, build_fleet
from thoth_watch.bootstrap.engine_process import build_publish
from thoth_watch.bootstrap.engines import Engines
from thoth_watch.bootstrap.load_settings import build_inbox, file_options_resolver
from thoth_watch.bootstrap.local_engines import open_local_engines
from thoth_watch.bootstrap.service_resources import ServiceResources, open_resources

if TYPE_CHECKING:
    from thoth_watch.application.move_finished import MoveFinished
    from thoth_watch.application.scan_schedule import ScanSchedule
    from thoth_watch.application.serve import ServePolicy, StopReason
    from thoth_watch.application.watch_inbox import WatchInbox
    from thoth_watch.infrastructure.settings import Settings

POLL_S = 15.0  # between two scans if a watcher polls


@contextmanager
def build_service(
    settings: Settings,
    *,
    drain: bool,
    progress: Progress | None = None,
    engines: Engines | None = None,
    reread: Callable[[], None] | None = None,
    on_ready: Callable[[], None] | None = None,
) -> Iterator[Callable[[], StopReason]]:
    """Yield a function that runs the main loop (with `drain` until the backlog is empty).

    The ledger's lock is held meanwhile. engines: loaded under the previous configuration. reread
    reads the configuration again on SIGHUP; if it raises ConfigError, the old one stays in effect.
    on_ready is called after the engine was loaded and checked.
    Raises RetryLater if another process holds the lock, LedgerBroken for a foreign or damaged
    ledger, and ConfigError if diarization is enabled but not installed.
    """
    from thoth_watch.application.serve import Serve, StopReason

    with (
        open_resources(settings, drain=drain) as resources,
        open_local_engines(
            settings, resources, drain=drain, engines=engines, progress=progress or NullProgress()
        ) as local,
    ):
        fleet = build_fleet(settings, resources.ledger) if settings.dispatch.is_celery else None
        watches, movers = _build_inboxes(settings, resources)
        serve = Serve(
            scan_schedule=_build_scan_schedule(settings, resources, watches),
            ledger=resources.ledger.queue,
            dispatcher=fleet or local.dispatcher,
            publish=build_publish(settings, resources.ledger),
            resolve_file_options=file_options_resolver(settings),
            service=ConfiguredService(
                settings, resources, local, fleet, movers, reread=reread, report_ready=on_ready
            ),
            clock=resources.clock,
            policy=_policy(settings, resources, local.dispatcher, drain=drain),
        )

        def run() -> StopReason:
            stop_reason = serve.run(should_stop=resources.stop)
            if stop_reason is not StopReason.RELOAD:
                resources.notifier.stopping()
            return stop_reason

        yield run


def _policy(
    settings: Settings, resources: ServiceResources, engines: Dispatcher, *, drain: bool
) -> ServePolicy:
    from thoth_watch.application.serve import ServePolicy
    from thoth_watch.infrastructure.service.process import owner_token

    return ServePolicy(
        batch=settings.batch.for_engines(engines.engines),
        owner=owner_token(),
        drain=drain,
        heartbeat_s=resources.notifier.heartbeat_s,
        idle_unload_s=settings.idle_unload_s,
        monitor_interval_s=MONITOR_INTERVAL_S if settings.dispatch.is_celery else None,
    )


def _build_scan_schedule(
    settings: Settings, resources: ServiceResources, watches: Sequence[WatchInbox]
) -> ScanSchedule:
    from thoth_watch.application.scan_schedule import ScanSchedule

    rescan_s = min(inbox.rescan_s for inbox in settings.inboxes)
    return ScanSchedule(
        watches,
        folder_watcher=resources.folder_watcher,
        clock=resources.clock,
        rescan_s=min(rescan_s, POLL_S) if resources.folder_watcher.is_polling else rescan_s,
    )


def _build_inboxes(
    settings: Settings, resources: ServiceResources
) -> tuple[list[WatchInbox], list[MoveFinished]]:
    """Build the watch of each inbox, and the archive of its finished recordings if configured."""
    from thoth_watch.application.move_finished import MoveFinished
    from thoth_watch.application.watch_inbox import WatchInbox
    from thoth_watch.infrastructure.inbox.local_files import LocalFiles
    from thoth_watch.infrastructure.publishing import DurableMover

    ledger, clock = resources.ledger, resources.clock
    watches = [
        WatchInbox(
            build_inbox(inbox),
            ledger=ledger.inbox,
            files=LocalFiles(),
            decoder=resources.decoder,
            clock=clock,
            settle_s=inbox.settle_s,
            sentinel=inbox.sentinel,
        )
        for inbox in settings.inboxes
    ]
    movers = [
        MoveFinished(watch, inbox.after, ledger=ledger.archive, mover=DurableMover(), clock=clock)
        for watch, inbox in zip(watches, settings.inboxes, strict=True)
        if inbox.after is not None
    ]
    return watches, movers
