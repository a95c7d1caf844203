"""Records of a run over one batch and of the outcome of each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from thoth_watch.domain.engine import Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.states import State


class RunStatus(StrEnum):
    """Status of a run."""

    RUNNING = "RUNNING"
    DONE = "DONE"  # every file has its transcript
    PARTIAL = "PARTIAL"  # some files have their transcript
    FAILED = "FAILED"  # no file has its transcript
    INTERRUPTED = "INTERRUPTED"  # stopped or killed before its end


@dataclass(slots=True)
class StageSeconds:
    """Wall seconds of each stage of a run."""

    load_s: float = 0.0
    queue_s: float = 0.0  # from the first file ready to the start
    decode_s: float = 0.0  # overlaps with the engine's time
    features_s: float = 0.0
    encode_s: float = 0.0
    generate_s: float = 0.0
    write_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """The outcome of one file in one run."""

    file_id: int
    state: State
    reason: str = ""
    sha256: str | None = None
    duration_s: float | None = None
    next_try_at: datetime | None = None
    counts_as_attempt: bool = True
    crashed: bool = False
    reused: bool = False  # published from an earlier result instead of transcribed again


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the `runs` table."""

    requested: TranscriptionEngineConfig
    placement: Placement
    started_at: datetime
    finished_at: datetime
    status: RunStatus
    stages: StageSeconds
    audio_s: float
    wall_s: float
    files_ok: int
    files_failed: int
    tokens: int
    peak_rss_bytes: int
    peak_gpu_bytes: int
    fallbacks: tuple[Fallback, ...] = ()
    host: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    skipped_s: float = 0.0  # part of audio_s that was skipped because it has no speech

    @property
    def realtime_factor(self) -> float:
        """Return the seconds of audio transcribed per second of wall time."""
        return self.audio_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def skipped_share(self) -> float:
        """Return the share of the audio that was skipped because it has no speech, 0 to 1."""
        return self.skipped_s / self.audio_s if self.audio_s > 0 else 0.0

    @property
    def files_per_min(self) -> float:
        """Return the number of files finished per minute of wall time."""
        return 60.0 * self.files_ok / self.wall_s if self.wall_s > 0 else 0.0
