"""Which devices of this machine get an engine."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from thoth_watch.domain.errors import EngineUnavailable

if TYPE_CHECKING:
    from thoth_watch.infrastructure.settings import Settings


def devices_of(settings: Settings) -> tuple[str, ...]:
    """The devices to work on; where there is one, its engine lives in this process.

    A device that a flag names goes before the configuration's list; workers elsewhere have one each.
    Raises EngineUnavailable for several devices in a process that a launcher started as one of several.
    """
    asked = settings.devices
    if asked is None or settings.engine.device_is_binding or settings.dispatch.is_celery:
        return (settings.engine.device,)
    devices = _gpus() or (settings.engine.device,) if asked == ("auto",) else asked
    n_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if len(devices) > 1 and n_launched > 1:
        raise EngineUnavailable(
            f"a launcher started {n_launched} processes, and engine.devices asks each for"
            f" {len(devices)} engines; start thoth-watch once, without the launcher"
        )
    return devices


def engine_processes(
    settings: Settings, devices: tuple[str, ...]
) -> list[tuple[str, tuple[Any, ...]]]:
    """A name for each device's process, and what it is started with; processors are shared out."""
    n_threads = max(1, len(os.sched_getaffinity(0)) // len(devices))
    times, found = Counter(devices), Counter[str]()
    processes: list[tuple[str, tuple[Any, ...]]] = []
    for device in devices:
        found[device] += 1
        name = f"{device} ({found[device]} of {times[device]})" if times[device] > 1 else device
        processes.append((name, (settings, device, n_threads)))
    return processes


def _gpus() -> tuple[str, ...]:
    from thoth_watch.infrastructure.whisper.placement import available_devices

    return tuple(device for device in available_devices() if device.startswith("cuda:"))
