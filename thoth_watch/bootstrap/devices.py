"""Selects the devices of this machine that get an engine."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from thoth_watch.domain.errors import EngineUnavailable

if TYPE_CHECKING:
    from thoth_watch.infrastructure.settings import Settings


def devices_of(settings: Settings) -> tuple[str, ...]:
    """Return the devices to use; with a single device, its engine runs in this process.

    A device named by a flag takes precedence over the configuration's list; a Celery worker uses one
    device. Raises EngineUnavailable for several devices in one of several processes of a launcher.
    """
    requested = settings.devices
    if requested is None or settings.engine.device_is_binding or settings.dispatch.is_celery:
        return (settings.engine.device,)
    devices = _gpus() or (settings.engine.device,) if requested == ("auto",) else requested
    n_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if len(devices) > 1 and n_launched > 1:
        raise EngineUnavailable(
            f"engine.devices: a launcher started {n_launched} processes, and each would start"
            f" {len(devices)} engines; start thoth-watch once, without the launcher"
        )
    return devices


def engine_processes(
    settings: Settings, devices: tuple[str, ...]
) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the name and the arguments of the process for each device; CPU cores are divided."""
    n_threads = max(1, len(os.sched_getaffinity(0)) // len(devices))
    totals, counts = Counter(devices), Counter[str]()
    processes: list[tuple[str, tuple[Any, ...]]] = []
    for device in devices:
        counts[device] += 1
        name = f"{device} ({counts[device]} of {totals[device]})" if totals[device] > 1 else device
        processes.append((name, (settings, device, n_threads)))
    return processes


def _gpus() -> tuple[str, ...]:
    from thoth_watch.infrastructure.whisper.placement import available_devices

    return tuple(device for device in available_devices() if device.startswith("cuda:"))
