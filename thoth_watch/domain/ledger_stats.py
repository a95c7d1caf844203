"""Current totals of the ledger, as exported to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RunTotals:
    """Totals of all runs with the same engine, device, precision and status since the ledger was created."""

    engine: str
    device: str
    precision: str
    status: str
    runs: int
    files_ok: int
    files_failed: int
    audio_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """Totals of the ledger at one moment."""

    files: Mapping[str, int]  # by state; includes every state
    runs: tuple[RunTotals, ...]
    stage_s: Mapping[str, float]  # by stage
    fallback_runs: int  # runs that used anything other than what was requested
    backlog_files: int
    backlog_audio_s: float
    last_run_at: datetime | None
    is_working: bool  # True if a process holds the ledger's lock
