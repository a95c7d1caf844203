"""How things stand, in numbers that only a look into the ledger can give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RunTotals:
    """Sums over all runs of one kind since the ledger was made."""

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
    """One moment's numbers."""

    files: Mapping[str, int]  # by state, every state is there
    runs: tuple[RunTotals, ...]
    stage_s: Mapping[str, float]  # by stage
    fallback_runs: int  # runs with anything other than what was asked
    backlog_files: int
    backlog_audio_s: float
    last_run_at: datetime | None
    is_working: bool  # whether a process holds the ledger's lock
