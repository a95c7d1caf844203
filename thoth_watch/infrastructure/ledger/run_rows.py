"""Columns of a run's row, at its start and at its end."""

from __future__ import annotations

import socket
from dataclasses import asdict
from datetime import datetime
from typing import Any

from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.run import Run, RunStatus


def opening_columns(
    *, batch_id: int, requested: TranscriptionEngineConfig, placement: Placement, now: datetime
) -> dict[str, Any]:
    """Return the columns that are known before the first file is opened."""
    return {
        "batch_id": batch_id,
        "started_at": now,
        "status": str(RunStatus.RUNNING),
        "files_ok": 0,
        "files_failed": 0,
        "fallbacks": [],
        "host": socket.gethostname(),
        **_requested_columns(requested),
        **_placement_columns(placement),
    }


def failed_start_columns(
    *, requested: TranscriptionEngineConfig, error: str, host: str, now: datetime
) -> dict[str, Any]:
    """Return the columns of a run whose engine was unavailable."""
    return {
        "started_at": now,
        "finished_at": now,
        "status": str(RunStatus.FAILED),
        "files_ok": 0,
        "files_failed": 0,
        "fallbacks": [],
        "versions": {},
        "host": host,
        "error": error,
        **_requested_columns(requested),
    }


def closing_columns(run: Run) -> dict[str, Any]:
    """Return the columns of a finished run."""
    return {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "status": str(run.status),
        **_requested_columns(run.requested),
        **_placement_columns(run.placement),
        **asdict(run.stages),
        "files_ok": run.files_ok,
        "files_failed": run.files_failed,
        "audio_s": run.audio_s,
        "skipped_share": run.skipped_share,
        "wall_s": run.wall_s,
        "realtime_factor": run.realtime_factor,
        "files_per_min": run.files_per_min,
        "tokens": run.tokens,
        "peak_rss_bytes": run.peak_rss_bytes,
        "peak_gpu_bytes": run.peak_gpu_bytes,
        "fallbacks": [fallback.as_dict() for fallback in run.fallbacks],
        "host": run.host or socket.gethostname(),
        "versions": dict(run.versions or run.placement.versions),
        "error": run.error,
    }


def _requested_columns(requested: TranscriptionEngineConfig) -> dict[str, Any]:
    return {
        "engine_asked": str(requested.engine_type),
        "model_asked": requested.model,
        "device_asked": requested.device,
        "precision_asked": requested.precision if requested.enable_mixed_precision else "float32",
    }


def _placement_columns(placement: Placement) -> dict[str, Any]:
    return {
        "engine": placement.engine,
        "model": placement.model,
        "model_revision": placement.model_revision,
        "device": placement.device,
        "device_name": placement.device_name,
        "precision": placement.precision,
        "mixed_precision": placement.mixed_precision,
        "batch_size": placement.batch_size,
        "num_processes": placement.num_processes,
        "is_main_process": placement.is_main_process,
        "versions": dict(placement.versions),
    }
