"""Statistics over a period of time, as the report shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

STAGES = ("load", "decode", "features", "encode", "generate", "write")  # in the order of a run

_WIDTHS = tuple(
    timedelta(minutes=m)
    for m in (1, 5, 15, 60, 6 * 60, 1440, 7 * 1440, 14 * 1440, 30 * 1440, 365 * 1440)
)
MAX_BUCKETS = 60


def bucket_width(span: timedelta) -> timedelta:
    """Return the smallest usual width that divides a span into at most MAX_BUCKETS buckets."""
    return next((w for w in _WIDTHS if span / w <= MAX_BUCKETS), _WIDTHS[-1])


@dataclass(slots=True)
class Bucket:
    """Totals of one part of the period."""

    start: datetime
    runs: int = 0
    files_ok: int = 0
    files_failed: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    backlog_files: int = 0  # at its end
    by_engine: dict[str, tuple[float, float]] = field(default_factory=dict)  # audio, wall seconds


@dataclass(slots=True)
class EngineStats:
    """Totals of one engine on one device in one precision with one model."""

    engine: str
    device: str
    device_name: str
    precision: str
    model: str
    runs: int = 0
    files_ok: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    peak_rss_bytes: int = 0
    peak_gpu_bytes: int = 0

    @property
    def name(self) -> str:
        """Return the label that plots show."""
        return f"{self.engine}, {self.device}, {self.precision}"

    @property
    def realtime_factor(self) -> float:
        """Return the seconds of audio per second of wall time over all runs."""
        return self.audio_s / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True)
class FallbackStats:
    """A difference between what was requested and used, and the number of runs that had it."""

    requested: str
    used: str
    reason: str
    runs: int


@dataclass(frozen=True, slots=True)
class FailureStats:
    """Files that share a state and a normalized reason."""

    state: str
    kind: str
    files: int
    example: str  # a path


@dataclass(frozen=True, slots=True)
class SlowFile:
    """A file that took long from its claim to its transcript, which includes the rest of its batch."""

    path: str
    took_s: float
    duration_s: float | None
    run_id: int | None


@dataclass(slots=True)
class History:
    """All data of a report."""

    made_at: datetime
    since: datetime | None  # as requested
    first: datetime | None = None  # start of the first and the last run that count
    last: datetime | None = None
    width: timedelta = _WIDTHS[0]
    buckets: list[Bucket] = field(default_factory=list)
    engines: list[EngineStats] = field(default_factory=list)  # most audio first
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))  # seconds
    fallbacks: list[FallbackStats] = field(default_factory=list)  # most runs first
    failures: list[FailureStats] = field(default_factory=list)  # most files first
    slowest: list[SlowFile] = field(default_factory=list)
    runs: int = 0
    files_ok: int = 0
    files_failed: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    waiting_files: int = 0
    waiting_audio_s: float = 0.0
    finish_s: float | None = None

    @property
    def realtime_factor(self) -> float:
        """Return the seconds of audio per second of wall time over all runs."""
        return self.audio_s / self.wall_s if self.wall_s else 0.0
