"""The daemon and the drain, put together over inboxes and ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from thoth_watch.application.ports import AudioDecoder, AudioFiles, Clock, Ledger, Progress
from thoth_watch.bootstrap.configuring import inbox_of, provenance, treatment_finder
from thoth_watch.bootstrap.dispatching import (
    TEND_S,
    build_cache,
    build_fleet,
    only_one,
    open_ledger,
)
from thoth_watch.bootstrap.engines import Engines, Voice, build_decoder, build_diarization
from thoth_watch.domain.errors import ConfigError, EngineUnavailable

if TYPE_CHECKING:
    from thoth_watch.application.serve import Ending
    from thoth_watch.application.watch_inbox import WatchInbox
    from thoth_watch.infrastructure.service.notify import ServiceManager
    from thoth_watch.infrastructure.service.signals import StopFlag
    from thoth_watch.infrastructure.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 15.0  # between looks where no event can be trusted


class Silence:
    """Progress shown to nobody."""

    def begin(self, *, files: int, audio_s: float) -> None:
        """Nothing."""

    def advance(self, audio_s: float) -> None:
        """Nothing."""

    def finished(self, path: Path, state: object, reason: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def nothing() -> None:
    """Do it."""


@contextmanager
def build_service(
    settings: Settings,
    *,
    drain: bool,
    progress: Progress | None = None,
    engines: Engines | None = None,
    reread: Callable[[], None] | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], Ending]]:
    """What runs the daemon (or, with drain, the oneshot) over the inboxes, holding the ledger's lock.

    engines: those of the configuration before this one. reread reads the configuration again on
    SIGHUP; where it raises ConfigError the old one stays. on_ready: the engine is there and tried.
    Raises TryLater where another process has it, LedgerBroken for a ledger that is not ours, and
    ConfigError where speakers are to be told apart and what does it is missing.
    """
    from thoth_watch.application.known_results import KnownResults
    from thoth_watch.application.move_finished import MoveFinished
    from thoth_watch.application.publish_transcript import PublishTranscript
    from thoth_watch.application.serve import Ending, Serve, ServePolicy
    from thoth_watch.application.transcribe_batch import TranscribeBatch
    from thoth_watch.infrastructure.dispatch.local import LocalDispatcher
    from thoth_watch.infrastructure.inbox import WatchdogDoorbell
    from thoth_watch.infrastructure.inbox.folder import LocalFiles
    from thoth_watch.infrastructure.publishing import DurablePublisher, RecordingMover, render
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.lock import inbox_lock
    from thoth_watch.infrastructure.service.notify import ServiceManager
    from thoth_watch.infrastructure.service.process import host_name, owner_token, peak_rss_bytes
    from thoth_watch.infrastructure.service.signals import stop_on_signals

    clock, files, manager = SystemClock(), LocalFiles(), ServiceManager()
    suffixes = {e for inbox in settings.inboxes for e in inbox.extensions}
    suffixes |= {inbox.sentinel for inbox in settings.inboxes if inbox.sentinel}
    with ExitStack() as stack:
        check_lock = stack.enter_context(only_one(settings))
        for inbox in settings.inboxes:
            stack.enter_context(inbox_lock(inbox.path))
        ledger = open_ledger(settings)
        stack.callback(ledger.close)
        decoder = build_decoder(settings.audio)
        stack.callback(decoder.close)
        engines = engines or Engines(settings.engine)
        engines.reconfigure(settings.engine)
        doorbell = stack.enter_context(
            WatchdogDoorbell(
                [(i.path, i.recursive, i.watcher) for i in settings.inboxes], suffixes=suffixes
            )
        )
        stop = stack.enter_context(stop_on_signals(doorbell.wake))
        publish = PublishTranscript(
            ledger=ledger,
            publisher=DurablePublisher(),
            render=partial(render, layout=settings.subtitles),
            clock=clock,
        )
        transcribe = TranscribeBatch(
            ledger=ledger,
            decoder=decoder,
            engines=engines,
            publish=publish,
            files=files,
            clock=clock,
            progress=progress or Silence(),
            peak_rss_bytes=peak_rss_bytes,
            host=host_name(),
            provenance=provenance(settings),
            may_begin_another=batch_limit(settings, clock),
            voice=Voice(),
            speakers=build_diarization(settings),
            known=KnownResults(ledger, cache=build_cache(settings)),
        )
        dispatcher = LocalDispatcher(transcribe, should_stop=stop, on_finished=doorbell.wake)
        stack.callback(dispatcher.close)
        fleet = build_fleet(settings, ledger) if settings.dispatch.is_celery else None

        def heartbeat() -> None:
            doorbell.check()
            check_lock()
            ledger.check_identity()
            manager.alive(silent_s=dispatcher.silent_s)

        def ready() -> None:
            on_ready()
            manager.ready()

        def run() -> Ending:
            ending = serve.run(should_stop=stop)
            if ending is not Ending.RELOAD:
                manager.stopping()
            return ending

        watches = _watches(settings, ledger, files, decoder, clock)
        movers = [
            MoveFinished(watch, inbox.after, ledger=ledger, mover=RecordingMover(), clock=clock)
            for watch, inbox in zip(watches, settings.inboxes, strict=True)
            if inbox.after is not None
        ]

        serve = Serve(
            inboxes=watches,
            ledger=ledger,
            dispatcher=fleet or dispatcher,
            doorbell=doorbell,
            publish=publish,
            files=files,
            treatment_of=treatment_finder(settings),
            clock=clock,
            policy=ServePolicy(
                batch=settings.batch,
                rescan_s=_rescan_s(settings, polls=doorbell.polls),
                drain=drain,
                beat_s=manager.beat_s,
                idle_unload_s=settings.idle_unload_s,
                tend_s=TEND_S if fleet else None,
            ),
            owner=owner_token(),
            ensure_engine=nothing
            if fleet  # it has none
            else _engine_check(settings, engines, ledger, clock, is_tried=not drain),
            tend=fleet.tend if fleet else nothing,
            unload=engines.unload,
            tidy=lambda: any(move() for move in movers),
            quiet_until=_quiet_hours(settings),
            heartbeat=heartbeat,
            on_ready=ready,
            wants_reload=_reload_check(stop, reread, manager),
        )
        yield run


def _rescan_s(settings: Settings, *, polls: bool) -> float:
    rescan_s = min(inbox.rescan_s for inbox in settings.inboxes)
    return min(rescan_s, POLL_S) if polls else rescan_s


def _watches(
    settings: Settings, ledger: Ledger, files: AudioFiles, decoder: AudioDecoder, clock: Clock
) -> list[WatchInbox]:
    from thoth_watch.application.watch_inbox import WatchInbox

    return [
        WatchInbox(
            inbox_of(inbox),
            ledger=ledger,
            files=files,
            decoder=decoder,
            clock=clock,
            settle_s=inbox.settle_s,
            sentinel=inbox.sentinel,
        )
        for inbox in settings.inboxes
    ]


def _quiet_hours(settings: Settings) -> Callable[[datetime], datetime | None]:
    """When the quiet hours that it is in end, as this machine's clock shows them."""

    def until(now: datetime) -> datetime | None:
        return settings.quiet_hours.until(now.astimezone())

    return until


def batch_limit(settings: Settings, clock: Clock) -> Callable[[float], bool]:
    """Whether a batch that works since so many seconds may take up another file."""
    limit_s, quiet_until = settings.batch.max_batch_s, _quiet_hours(settings)

    def may_begin_another(batch_s: float) -> bool:
        return (limit_s is None or batch_s < limit_s) and quiet_until(clock.now()) is None

    return may_begin_another


def _engine_check(
    settings: Settings, engines: Engines, ledger: Ledger, clock: Clock, *, is_tried: bool
) -> Callable[[], None]:
    """What loads the configured engine, tries it, and leaves a run row where it cannot be had."""
    from thoth_watch.application.check_engine import check_engine
    from thoth_watch.infrastructure.audio.tone import one_second_tone
    from thoth_watch.infrastructure.service.process import host_name

    def check() -> None:
        try:
            engine = engines.engine(settings.engine.model)
            if is_tried:
                check_engine(engine, one_second_tone())
        except EngineUnavailable as error:
            ledger.record_failed_start(
                asked=settings.engine, error=str(error), host=host_name(), now=clock.now()
            )
            raise

    return check


def _reload_check(
    stop: StopFlag, reread: Callable[[], None] | None, manager: ServiceManager
) -> Callable[[], bool]:
    """Whether SIGHUP came and the configuration, read again, is a good one."""

    def check() -> bool:
        if reread is None or not stop.takes_reload():
            return False
        try:
            reread()
        except ConfigError as error:
            log.warning(
                "the new configuration is refused, the old one stays",
                extra={"event": "reload_refused", "error": str(error)},
            )
            return False
        manager.reloading()
        return True

    return check
