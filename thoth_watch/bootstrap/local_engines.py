"""Builds the engines of this machine: in a thread of this process, or in one process per device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from thoth_watch.application.ports.engine import Progress
from thoth_watch.bootstrap.devices import devices_of, engine_processes
from thoth_watch.bootstrap.engine_process import build_transcribe_batch, run_engine_process
from thoth_watch.bootstrap.engines import Engines
from thoth_watch.bootstrap.service_resources import ServiceResources

if TYPE_CHECKING:
    from thoth_watch.infrastructure.dispatch.local_dispatcher import LocalDispatcher
    from thoth_watch.infrastructure.dispatch.process_dispatcher import ProcessDispatcher
    from thoth_watch.infrastructure.settings import Settings


@dataclass(frozen=True, slots=True)
class LocalEngines:
    """The dispatcher that runs batches on this machine's engines, and how they are loaded."""

    dispatcher: LocalDispatcher | ProcessDispatcher
    load: Callable[[], None]  # raises EngineUnavailable
    unload: Callable[[], None]


@contextmanager
def open_local_engines(
    settings: Settings,
    resources: ServiceResources,
    *,
    drain: bool,
    engines: Engines | None,
    progress: Progress,
) -> Iterator[LocalEngines]:
    """Build the engines of the configured devices without loading them; end their batches at the exit.

    engines: loaded under the previous configuration. Raises EngineUnavailable and ConfigError.
    """
    devices = devices_of(settings)
    if len(devices) > 1:
        local = _build_processes(settings, resources, devices, progress=progress)
    else:
        engines = engines or Engines(settings.engine)
        engines.reconfigure(replace(settings.engine, device=devices[0]))
        local = _build_thread(settings, resources, engines, drain=drain, progress=progress)
    try:
        yield local
    finally:
        local.dispatcher.close()


def _build_processes(
    settings: Settings,
    resources: ServiceResources,
    devices: tuple[str, ...],
    *,
    progress: Progress,
) -> LocalEngines:
    from thoth_watch.infrastructure.dispatch.process_dispatcher import ProcessDispatcher

    dispatcher = ProcessDispatcher(
        run_engine_process,
        engine_processes(settings, devices),
        should_stop=resources.stop,
        on_finished=resources.folder_watcher.wake,
        on_file=progress.finished,
    )
    return LocalEngines(dispatcher, load=dispatcher.start, unload=dispatcher.unload)


def _build_thread(
    settings: Settings,
    resources: ServiceResources,
    engines: Engines,
    *,
    drain: bool,
    progress: Progress,
) -> LocalEngines:
    from thoth_watch.infrastructure.dispatch.local_dispatcher import LocalDispatcher

    transcribe = build_transcribe_batch(
        settings,
        ledger=resources.ledger,
        decoder=resources.decoder,
        engines=engines,
        progress=progress,
    )
    dispatcher = LocalDispatcher(
        transcribe, should_stop=resources.stop, on_finished=resources.folder_watcher.wake
    )
    load = _engine_loader(settings, engines, is_checked=not drain)
    return LocalEngines(dispatcher, load=load, unload=engines.unload)


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
