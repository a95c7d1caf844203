"""Prometheus' text format, as a file for the node exporter or over HTTP."""

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
    """Asks for the figures anew at every scrape."""

    def __init__(self, read_stats: Callable[[], LedgerStats]) -> None:
        self._read_stats = read_stats

    def collect(self) -> Iterator[Any]:
        """Every metric. Names and units by prometheus.io/docs/practices/naming."""
        now = self._read_stats()
        files = GaugeMetricFamily("thoth_watch_files", "Files by state.", labels=["state"])
        for state, n in now.files.items():
            files.add_metric([state], n)
        yield files
        runs = CounterMetricFamily("thoth_watch_runs", "Runs.", labels=[*KIND, "status"])
        for kind in now.runs:
            runs.add_metric([kind.engine, kind.device, kind.precision, kind.status], kind.runs)
        yield runs
        for name, about, column in (
            ("thoth_watch_transcribed_files", "Files that got their transcript.", "files_ok"),
            ("thoth_watch_failed_files", "Attempts that failed.", "files_failed"),
            ("thoth_watch_audio_seconds", "Audio of all runs.", "audio_s"),
            ("thoth_watch_run_seconds", "Wall time of all runs.", "wall_s"),
        ):
            family = CounterMetricFamily(name, about, labels=KIND)
            sums: dict[tuple[str, str, str], float] = {}
            for kind in now.runs:
                key = (kind.engine, kind.device, kind.precision)
                sums[key] = sums.get(key, 0.0) + getattr(kind, column)
            for key, value in sums.items():
                family.add_metric(list(key), value)
            yield family
        stages = CounterMetricFamily(
            "thoth_watch_stage_seconds", "Time by stage.", labels=["stage"]
        )
        for stage, seconds in now.stage_s.items():
            stages.add_metric([stage], seconds)
        yield stages
        yield CounterMetricFamily(
            "thoth_watch_fallback_runs",
            "Runs in which something other than what was asked did the work.",
            value=now.fallback_runs,
        )
        last_s = now.last_run_at.timestamp() if now.last_run_at else 0.0
        for name, about, value in (
            ("thoth_watch_backlog_files", "Files that wait or are under way.", now.backlog_files),
            ("thoth_watch_backlog_audio_seconds", "Their audio, as declared.", now.backlog_audio_s),
            ("thoth_watch_last_run_timestamp_seconds", "Start of the newest run.", last_s),
            ("thoth_watch_working", "Whether a process works on the ledger.", now.is_working),
        ):
            yield GaugeMetricFamily(name, about, value=float(value))


def _build_registry(read_stats: Callable[[], LedgerStats]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(read_stats))
    return registry


def write_textfile(path: Path, read_stats: Callable[[], LedgerStats]) -> None:
    """Write the figures of now, whole or not at all. Raises TryLater."""
    try:
        write_to_textfile(str(path), _build_registry(read_stats))
    except OSError as error:
        raise RetryLater(f"{path}: {error.strerror}; is the folder there and writable?") from error


def serve_metrics(
    address: str, port: int, read_stats: Callable[[], LedgerStats]
) -> tuple[Any, Thread]:
    """Answer /metrics until the server is shut down. Raises ConfigError for a port that is taken."""
    try:
        return start_http_server(port, addr=address, registry=_build_registry(read_stats))
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
            raise ConfigError(
                f"port {port} of {address}: {error.strerror}; take another with --port"
            ) from error
        raise
