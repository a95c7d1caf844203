"""`python -m benchmarks.scale`: prints the scale model as tables.

`--ledger URL` uses the recent speed from a ledger's runs; `--measure` uses figures of this machine. It
starts a Redis, a RabbitMQ and a PostgreSQL server (tests/servers.py) and uses a single client, so the
figures are lower bounds.
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
    """Return how many times per second a step runs, one after the other."""
    step(0)
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        count += 1
        step(count)
    return count / spent


def measure(measured: Measured) -> Measured:
    """Replace all figures by those of this machine, except the share's bandwidth and the GPU's speed."""
    from tests.servers import Postgres, RabbitMQ, Redis, running
    from thoth_watch.application.ports.dispatch import WorkerInfo
    from thoth_watch.infrastructure.dispatch.celery_app import create_app
    from thoth_watch.infrastructure.dispatch.celery_queue import CeleryQueue
    from thoth_watch.infrastructure.ledger import SqlLedger

    with running(Postgres) as server, SqlLedger.open(server.new_database()) as ledger:
        worker = WorkerInfo("w", "localhost", 1, "cpu")
        database = rate(lambda _: ledger.leases.record_worker(worker, batch_id=None))
    print(f"PostgreSQL, sequential transactions: {database:.0f}/s")
    slowest = float("inf")
    for make in (Redis, RabbitMQ):
        with running(make) as broker:
            messages = rate(CeleryQueue(create_app(broker.url)).send)
        print(f"{make.__name__}, messages sent: {messages:.0f}/s")
        slowest = min(slowest, messages)
    entries = measure_listing()
    print(f"entries scanned in {tempfile.gettempdir()}: {entries:.0f}/s")
    return replace(
        measured, database_tx_s=database, broker_messages_s=slowest, share_entries_s=entries
    )


def measure_listing(n_files: int = 20_000) -> float:
    """Return the number of entries per second in a scan of a folder on the local disk."""
    from thoth_watch.infrastructure.inbox import FolderInbox

    with tempfile.TemporaryDirectory() as folder:
        for number in range(n_files):
            (Path(folder) / f"{number}.wav").touch()
        inbox = FolderInbox(Path(folder), recursive=True, extensions=("wav",), ignore=())
        started = time.perf_counter()
        inbox.scan()
        return n_files / (time.perf_counter() - started)


def with_ledger_speed(url: str, measured: Measured) -> Measured:
    """Replace the speed by that of a ledger's newest runs, if it has any."""
    from thoth_watch.infrastructure.ledger.reading import LedgerReader

    with LedgerReader.open(url) as reader:
        speed = reader.backlog().realtime_factor
    return measured if speed is None else replace(measured, realtime_factor=speed)


def table(measured: Measured) -> str:
    """Format a Markdown table with one row per number of GPUs."""
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
    """Name the parts used to 50% or more, most used first; otherwise the most used one."""
    used = sorted(load.used(measured).items(), key=lambda item: -item[1])
    named = [f"{name} {share:.0%}" for name, share in used if share >= 0.5] or [
        f"nothing (most: {used[0][0]} {used[0][1]:.0%})"
    ]
    return ", ".join(named)


def format_gpus_needed(measured: Measured) -> str:
    """Format how many GPUs a million files a day need, by file length."""
    lengths = {"30 s": 30.0, "1 min": 60.0, "5 min": 300.0, "30 min": 1800.0}
    parts = [
        f"{gpus_needed(1e6, audio_s=seconds, measured=measured):.0f} at {name}"
        for name, seconds in lengths.items()
    ]
    return f"GPUs needed for 1 M files a day: {', '.join(parts)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--measure", action="store_true", help="Measure the figures of this machine."
    )
    parser.add_argument("--ledger", help="URL of a ledger; use the speed of its newest runs.")
    for field in fields(Measured):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=None)
    options = vars(parser.parse_args())
    is_measured, ledger = options.pop("measure"), options.pop("ledger")
    measured = measure(Measured()) if is_measured else Measured()
    measured = with_ledger_speed(ledger, measured) if ledger else measured
    measured = replace(
        measured, **{key: value for key, value in options.items() if value is not None}
    )
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores; {measured}\n")
    print(table(measured))
    print(f"\n{format_gpus_needed(measured)}")


if __name__ == "__main__":
    main()
