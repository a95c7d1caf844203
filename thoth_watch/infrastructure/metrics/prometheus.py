"""Metrics in Prometheus' text format, as a file for the node exporter or over HTTP."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from thoth_watch.domain.errors import ConfigError, RetryLater
from thoth_watch.domain.ledger_stats import LedgerStats

KIND = ("engine", "device", "precision")


class _Collector:
    """Reads the current numbers at every scrape."""

    def __init__(self, read_stats: Callable[[], LedgerStats]) -> None:
        self._read_stats = read_stats

    def collect(self) -> Iterator[Any]:
        """Yield every metric; names and units follow prometheus.io/docs/practices/naming."""
        stats = self._read_stats()
        files = GaugeMetricFamily("thoth_watch_files", "Files by state.", labels=["state"])
        for state, n in stats.files.items():
            files.add_metric([state], n)
        yield files
        runs = CounterMetricFamily("thoth_watch_runs", "Runs by status.", labels=[*KIND, "status"])
        for kind in stats.runs:
            runs.add_metric([kind.engine, kind.device, kind.precision, kind.status], kind.runs)
        yield runs
        for name, help_text, column in (
            ("thoth_watch_transcribed_files", "Files transcribed.", "files_ok"),
            ("thoth_watch_failed_files", "Failed attempts at files.", "files_failed"),
            ("thoth_watch_audio_seconds", "Seconds of audio in all runs.", "audio_s"),
            ("thoth_watch_run_seconds", "Wall time of all runs in seconds.", "wall_s"),
        ):
            family = CounterMetricFamily(name, help_text, labels=KIND)
            sums: dict[tuple[str, str, str], float] = {}
            for kind in stats.runs:
                key = (kind.engine, kind.device, kind.precision)
                sums[key] = sums.get(key, 0.0) + getattr(kind, column)
            for key, value in sums.items():
                family.add_metric(list(key), value)
            yield family
        stages = CounterMetricFamily(
            "thoth_watch_stage_seconds", "Seconds spent in each stage.", labels=["stage"]
        )
        for stage, seconds in stats.stage_s.items():
            stages.add_metric([stage], seconds)
        yield stages
        yield CounterMetricFamily(
            "thoth_watch_fallback_runs",
            "Runs that used something other than requested.",
            value=stats.fallback_runs,
        )
        last_s = stats.last_run_at.timestamp() if stats.last_run_at else 0.0
        for name, help_text, value in (
            ("thoth_watch_backlog_files", "Files waiting or in progress.", stats.backlog_files),
            (
                "thoth_watch_backlog_audio_seconds",
                "Declared audio of the backlog in seconds.",
                stats.backlog_audio_s,
            ),
            ("thoth_watch_last_run_timestamp_seconds", "Start time of the newest run.", last_s),
            (
                "thoth_watch_working",
                "1 while a process is using the ledger, else 0.",
                stats.is_working,
            ),
        ):
            yield GaugeMetricFamily(name, help_text, value=float(value))


def _build_registry(read_stats: Callable[[], LedgerStats]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(read_stats))
    return registry


def write_textfile(path: Path, read_stats: Callable[[], LedgerStats]) -> None:
    """Write the current metrics to a file atomically. Raises RetryLater if it cannot be written."""
    try:
        write_to_textfile(str(path), _build_registry(read_stats))
    except OSError as error:
        raise RetryLater(
            f"{path}: {error.strerror}; create the folder or make it writable"
        ) from error


def serve_metrics(
    address: str, port: int, read_stats: Callable[[], LedgerStats]
) -> tuple[Any, Thread]:
    """Serve /metrics until the server is shut down. Raises ConfigError if the address is unavailable."""
    try:
        return start_http_server(port, addr=address, registry=_build_registry(read_stats))
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
            raise ConfigError(
                f"port {port} of {address}: {error.strerror}; choose another one with --port"
            ) from error
        raise
