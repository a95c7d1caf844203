"""`python -m benchmarks.scale`: the scale model as tables; `--measure` takes this machine's own figures.

`--ledger URL` takes the speed of late from a ledger's runs. With --measure a Redis, a RabbitMQ and a
PostgreSQL server are started for it (tests/servers.py), with one client: floors, not ceilings.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.scale_model import Load, Measured, gpus_needed, load_of

SIZES = (1, 8, 64, 512)
MINUTES = (1, 5, 30)


def rate(step: Callable[[int], object], *, seconds: float = 3.0) -> float:
    """How often a second it can be done, one after the other."""
    step(0)
    begun, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < seconds:
        count += 1
        step(count)
    return count / spent


def measure(measured: Measured) -> Measured:
    """The figures of this machine for all but the share's bandwidth and the GPU."""
    from tests.servers import Postgres, RabbitMQ, Redis, running
    from thoth_watch.application.ports import WorkerInfo
    from thoth_watch.infrastructure.dispatch.celery_app import create_app
    from thoth_watch.infrastructure.dispatch.celery_queue import CeleryQueue
    from thoth_watch.infrastructure.ledger import SqlLedger

    with running(Postgres) as server, SqlLedger.open(server.new_database()) as ledger:
        worker = WorkerInfo("w", "here", 1, "cpu")
        database = rate(lambda _: ledger.record_worker(worker, batch_id=None))
    print(f"PostgreSQL, one transaction after the other: {database:.0f}/s")
    slowest = float("inf")
    for make in (Redis, RabbitMQ):
        with running(make) as broker:
            messages = rate(CeleryQueue(create_app(broker.url)).send)
        print(f"{make.__name__}, messages sent: {messages:.0f}/s")
        slowest = min(slowest, messages)
    entries = measure_listing()
    print(f"entries listed and looked at in {tempfile.gettempdir()}: {entries:.0f}/s")
    return replace(
        measured, database_tx_s=database, broker_messages_s=slowest, share_entries_s=entries
    )


def measure_listing(n_files: int = 20_000) -> float:
    """Entries a second that a look at a folder of the local disk takes up."""
    from thoth_watch.infrastructure.inbox import FolderInbox

    with tempfile.TemporaryDirectory() as folder:
        for number in range(n_files):
            (Path(folder) / f"{number}.wav").touch()
        inbox = FolderInbox(Path(folder), recursive=True, extensions=("wav",), ignore=())
        begun = time.perf_counter()
        inbox.scan()
        return n_files / (time.perf_counter() - begun)


def with_ledger_speed(url: str, measured: Measured) -> Measured:
    """With the speed of the newest runs of a ledger."""
    from thoth_watch.infrastructure.ledger import LedgerReader

    with LedgerReader.open(url) as reader:
        speed = reader.backlog().realtime_factor
    return measured if speed is None else replace(measured, realtime_factor=speed)


def table(measured: Measured) -> str:
    """One row for each number of GPUs."""
    lines = [
        (
            "| GPUs | M files/day (1 / 5 / 30 min) | files/s | batches/s | WAV MB/s | meta ops/s"
            " | database tx/s | connections | scan s | used most |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for gpus in SIZES:
        by_length = [load_of(gpus, audio_s=60.0 * m, measured=measured) for m in MINUTES]
        days = " / ".join(f"{load.files_per_day / 1e6:.3g}" for load in by_length)
        load = by_length[1]
        lines.append(
            f"| {gpus} | {days} | {load.files_s:.3g} | {load.batches_s:.2g}"
            f" | {load.share_bytes_s / 1e6:.3g} | {load.meta_ops_s:.3g} | {load.database_tx_s:.3g}"
            f" | {load.connections} | {load.scan_s:.3g} | {most_used(load, measured)} |"
        )
    return "\n".join(lines)


def most_used(load: Load, measured: Measured) -> str:
    """The parts in the order in which they give way, those that are used to half and more."""
    used = sorted(load.used(measured).items(), key=lambda item: -item[1])
    named = [f"{name} {share:.0%}" for name, share in used if share >= 0.5] or [
        f"nothing (most: {used[0][0]} {used[0][1]:.0%})"
    ]
    return ", ".join(named)


def format_gpus_needed(measured: Measured) -> str:
    """GPUs for a million files a day."""
    lengths = {"30 s": 30.0, "1 min": 60.0, "5 min": 300.0, "30 min": 1800.0}
    parts = [
        f"{gpus_needed(1e6, audio_s=seconds, measured=measured):.0f} at {name}"
        for name, seconds in lengths.items()
    ]
    return f"1 M files a day need so many GPUs: {', '.join(parts)}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="this machine's own figures")
    parser.add_argument("--ledger", help="URL of a ledger whose newest runs tell the speed")
    for field in fields(Measured):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=None)
    asked = vars(parser.parse_args())
    is_measured, ledger = asked.pop("measure"), asked.pop("ledger")
    measured = measure(Measured()) if is_measured else Measured()
    measured = with_ledger_speed(ledger, measured) if ledger else measured
    measured = replace(
        measured, **{key: value for key, value in asked.items() if value is not None}
    )
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores; {measured}\n")
    print(table(measured))
    print(f"\n{format_gpus_needed(measured)}")


if __name__ == "__main__":
    main()
