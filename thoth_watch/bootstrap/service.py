"""Builds the main loop of the daemon and of `once`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from thoth_watch.application.ports.engine import NullProgress, Progress
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.bootstrap.configured_service import ConfiguredService
from thoth_watch.bootstrap.devices import devices_of, engine_processes
from thoth_watch.bootstrap.dispatchers import (
    MONITOR_INTERVAL_S,
    build_fleet,
    dispatcher_lock,
    open_ledger,
)
from thoth_watch.bootstrap.engine_process import (
    build_publish,
    build_transcribe_batch,
    run_engine_process,
)
from thoth_watch.bootstrap.engines import Engines, build_decoder
from thoth_watch.bootstrap.load_settings import build_inbox, file_options_resolver

if TYPE_CHECKING:
    from thoth_watch.application.move_finished import MoveFinished
    from thoth_watch.application.serve import StopReason
    from thoth_watch.application.watch_inbox import WatchInbox
    from thoth_watch.infrastructure.audio import WorkerDecoder
    from thoth_watch.infrastructure.ledger import SqlLedger
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
    from thoth_watch.application.scan_schedule import ScanSchedule
    from thoth_watch.application.serve import Serve, ServePolicy, StopReason
    from thoth_watch.infrastructure.dispatch.local_dispatcher import LocalDispatcher
    from thoth_watch.infrastructure.dispatch.process_dispatcher import ProcessDispatcher
    from thoth_watch.infrastructure.inbox import WatchdogWatcher
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.lock import inbox_lock
    from thoth_watch.infrastructure.service.process import owner_token
    from thoth_watch.infrastructure.service.sd_notify import SystemdNotifier
    from thoth_watch.infrastructure.service.signals import stop_on_signals

    clock, manager = SystemClock(), SystemdNotifier()
    with ExitStack() as stack:
        check_lock = stack.enter_context(dispatcher_lock(settings))
        for inbox in settings.inboxes:
            stack.enter_context(inbox_lock(inbox.path))
        ledger = open_ledger(settings)
        stack.callback(ledger.close)
        decoder = build_decoder(settings.audio)
        stack.callback(decoder.close)
        folder_watcher = stack.enter_context(
            WatchdogWatcher(
                # a drain ends with a full scan; events of its own transcripts would only trigger more
                [] if drain else [(i.path, i.recursive, i.watcher) for i in settings.inboxes],
                suffixes=_watched_suffixes(settings),
            )
        )
        stop = stack.enter_context(stop_on_signals(folder_watcher.wake))
        publish = build_publish(settings, ledger, clock)
        devices, display = devices_of(settings), progress or NullProgress()
        dispatcher: LocalDispatcher | ProcessDispatcher
        if len(devices) > 1:
            dispatcher = ProcessDispatcher(
                run_engine_process,
                engine_processes(settings, devices),
                should_stop=stop,
                on_finished=folder_watcher.wake,
                on_file=display.finished,
            )
            load, unload = dispatcher.start, dispatcher.unload
        else:
            engines = engines or Engines(settings.engine)
            engines.reconfigure(replace(settings.engine, device=devices[0]))
            transcribe = build_transcribe_batch(
                settings,
                ledger=ledger,
                decoder=decoder,
                engines=engines,
                publish=publish,
                clock=clock,
                progress=display,
            )
            dispatcher = LocalDispatcher(
                transcribe, should_stop=stop, on_finished=folder_watcher.wake
            )
            load, unload = _engine_loader(settings, engines, is_checked=not drain), engines.unload
        stack.callback(dispatcher.close)
        fleet = build_fleet(settings, ledger) if settings.dispatch.is_celery else None

        def run() -> StopReason:
            stop_reason = serve.run(should_stop=stop)
            if stop_reason is not StopReason.RELOAD:
                manager.stopping()
            return stop_reason

        watches, movers = _inboxes(settings, ledger=ledger, decoder=decoder, clock=clock)
        service = ConfiguredService(
            settings=settings,
            ledger=ledger,
            clock=clock,
            dispatcher=dispatcher,
            load_engines=load,
            unload_engines=unload,
            fleet=fleet,
            movers=movers,
            folder_watcher=folder_watcher,
            check_lock=check_lock,
            notifier=manager,
            stop=stop,
            reread=reread,
            report_ready=on_ready,
        )
        serve = Serve(
            scan_schedule=ScanSchedule(
                watches,
                folder_watcher=folder_watcher,
                clock=clock,
                rescan_s=_rescan_s(settings, is_polling=folder_watcher.is_polling),
            ),
            ledger=ledger,
            dispatcher=fleet or dispatcher,
            publish=publish,
            resolve_file_options=file_options_resolver(settings),
            clock=clock,
            policy=ServePolicy(
                batch=settings.batch.for_engines(len(devices)),
                owner=owner_token(),
                drain=drain,
                heartbeat_s=manager.heartbeat_s,
                idle_unload_s=settings.idle_unload_s,
                monitor_interval_s=MONITOR_INTERVAL_S if fleet else None,
            ),
            service=service,
        )
        yield run


def _rescan_s(settings: Settings, *, is_polling: bool) -> float:
    rescan_s = min(inbox.rescan_s for inbox in settings.inboxes)
    return min(rescan_s, POLL_S) if is_polling else rescan_s


def _watched_suffixes(settings: Settings) -> set[str]:
    """Return the file name suffixes whose events trigger a scan."""
    sentinels = {inbox.sentinel for inbox in settings.inboxes if inbox.sentinel}
    return sentinels | {e for inbox in settings.inboxes for e in inbox.extensions}


def _inboxes(
    settings: Settings, *, ledger: SqlLedger, decoder: WorkerDecoder, clock: Clock
) -> tuple[list[WatchInbox], list[MoveFinished]]:
    """Build the watch of each inbox, and the archive of its finished recordings if configured."""
    from thoth_watch.application.move_finished import MoveFinished
    from thoth_watch.application.watch_inbox import WatchInbox
    from thoth_watch.infrastructure.inbox.local_files import LocalFiles
    from thoth_watch.infrastructure.publishing import DurableMover

    watches = [
        WatchInbox(
            build_inbox(inbox),
            ledger=ledger,
            files=LocalFiles(),
            decoder=decoder,
            clock=clock,
            settle_s=inbox.settle_s,
            sentinel=inbox.sentinel,
        )
        for inbox in settings.inboxes
    ]
    movers = [
        MoveFinished(watch, inbox.after, ledger=ledger, mover=DurableMover(), clock=clock)
        for watch, inbox in zip(watches, settings.inboxes, strict=True)
        if inbox.after is not None
    ]
    return watches, movers


def _engine_loader(settings: Settings, engines: Engines, *, is_checked: bool) -> Callable[[], None]:
    """Return a function that loads the configured engine and checks it.

    The function raises EngineUnavailable.
    """
    from thoth_watch.application.check_engine import check_engine
    from thoth_watch.infrastructure.audio.tone import one_second_tone

    def load() -> None:
        engine = engines.engine(settings.engine.model)
        if is_checked:
            check_engine(engine, one_second_tone())

    return load
