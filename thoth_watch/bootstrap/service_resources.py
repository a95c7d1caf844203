"""Opens what the main loop holds while it runs: locks, ledger, decoder, file watcher and signal handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thoth_watch.application.ports.inbox import Clock
from thoth_watch.bootstrap.dispatchers import dispatcher_lock, open_ledger
from thoth_watch.bootstrap.engines import build_decoder

if TYPE_CHECKING:
    from thoth_watch.infrastructure.audio import WorkerDecoder
    from thoth_watch.infrastructure.inbox import WatchdogWatcher
    from thoth_watch.infrastructure.ledger import SqlLedger
    from thoth_watch.infrastructure.service.sd_notify import SystemdNotifier
    from thoth_watch.infrastructure.service.signals import StopFlag
    from thoth_watch.infrastructure.settings import Settings


@dataclass(frozen=True, slots=True)
class ServiceResources:
    """The open resources of the process that runs the main loop."""

    check_lock: Callable[[], None]  # raises if the dispatcher's lock was lost
    ledger: SqlLedger
    decoder: WorkerDecoder
    folder_watcher: WatchdogWatcher
    stop: StopFlag
    clock: Clock
    notifier: SystemdNotifier


@contextmanager
def open_resources(settings: Settings, *, drain: bool) -> Iterator[ServiceResources]:
    """Open the resources, the locks first; close them in reverse order.

    Raises RetryLater if another process holds a lock, LedgerBroken for a foreign or damaged ledger.
    """
    from thoth_watch.infrastructure.inbox import WatchdogWatcher
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.lock import inbox_lock
    from thoth_watch.infrastructure.service.sd_notify import SystemdNotifier
    from thoth_watch.infrastructure.service.signals import stop_on_signals

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
        yield ServiceResources(
            check_lock=check_lock,
            ledger=ledger,
            decoder=decoder,
            folder_watcher=folder_watcher,
            stop=stop,
            clock=SystemClock(),
            notifier=SystemdNotifier(),
        )


def _watched_suffixes(settings: Settings) -> set[str]:
    """Return the file name suffixes whose events trigger a scan."""
    sentinels = {inbox.sentinel for inbox in settings.inboxes if inbox.sentinel}
    return sentinels | {e for inbox in settings.inboxes for e in inbox.extensions}
