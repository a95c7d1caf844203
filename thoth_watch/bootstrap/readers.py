"""Reads the ledger and this machine for reports, metrics and model recommendations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from thoth_watch.domain.ledger_stats import LedgerStats

if TYPE_CHECKING:
    from thoth_watch.infrastructure.models import Machine
    from thoth_watch.infrastructure.settings import Settings


def this_machine() -> Machine:
    """Return the memory and cores of this machine, from which a model is recommended."""
    import psutil
    import torch

    from thoth_watch.infrastructure.models import Machine

    gpu_bytes = 0
    if torch.cuda.is_available():
        gpu_bytes = int(torch.cuda.get_device_properties(0).total_memory)
    return Machine(
        gpu_memory_gib=gpu_bytes / 2**30,
        memory_gib=psutil.virtual_memory().total / 2**30,
        cores=psutil.cpu_count(logical=False) or 1,
    )


def build_report(settings: Settings, *, since: datetime | None) -> str:
    """Render the report page of a ledger. Raises ModuleNotFoundError without the `report` extra."""
    from thoth_watch.infrastructure.ledger.reading import LedgerReader
    from thoth_watch.infrastructure.reporting import render_report

    with LedgerReader.open(settings.ledger_url) as reader:
        history = reader.history(since=since, now=datetime.now(UTC))
    return render_report(history, ledger=str(settings.origins["ledger.url"].value))


def ledger_stats_reader(settings: Settings) -> Callable[[], LedgerStats]:
    """Return a function that reads the current totals of the ledger."""
    from thoth_watch.infrastructure.ledger.reading import LedgerReader, lock_path
    from thoth_watch.infrastructure.service.lock_holder import lock_holder_pid

    def read() -> LedgerStats:
        holder = lock_holder_pid(lock_path(settings.ledger_url))
        with LedgerReader.open(settings.ledger_url) as reader:
            return reader.ledger_stats(is_working=holder is not None)

    return read
