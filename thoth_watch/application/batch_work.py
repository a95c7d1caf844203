"""Accumulate a batch's progress and build its run record."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime

from thoth_watch.application.partial_transcripts import PartialTranscripts
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionEngine
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.run import FileOutcome, Run, RunStatus, StageSeconds
from thoth_watch.domain.states import NEEDS_ATTENTION, State

log = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchWork:
    """A claimed batch that an engine is transcribing."""

    claim: Claim
    run_id: int
    started_at: datetime
    engine: TranscriptionEngine
    stages: StageSeconds = field(default_factory=StageSeconds)
    seconds: EngineSeconds = field(default_factory=EngineSeconds)
    recordings: dict[int, Recording] = field(default_factory=dict)
    outcomes: dict[int, FileOutcome] = field(default_factory=dict)
    partials: PartialTranscripts = field(kw_only=True)
    audio_s: float = 0.0
    is_time_up: bool = False  # max_batch_s or quiet hours: the remaining files are released
    skipped_s: float = 0.0
    diarization: str | None = None  # name of the diarization model, once it was used

    def build_run(
        self,
        *,
        requested: TranscriptionEngineConfig,
        host: str,
        finished_at: datetime,
        wall_s: float,
        peak_rss_bytes: int,
        released: int,
        error: str | None,
    ) -> Run:
        """Build the run row.

        released: number of files that were not reached and were made READY again.
        """
        outcomes = list(self.outcomes.values())
        ok = sum(1 for outcome in outcomes if outcome.state in {State.DONE, State.CONFLICT})
        failed = sum(1 for outcome in outcomes if outcome.state in NEEDS_ATTENTION | {State.RETRY})
        stages = replace(
            self.stages,
            features_s=self.seconds.features_s,
            encode_s=self.seconds.encode_s,
            generate_s=self.seconds.generate_s,
        )
        versions = dict(self.engine.placement.versions)
        if self.diarization is not None:
            versions["diarization"] = self.diarization
        return Run(
            requested=requested,
            placement=self.engine.placement,
            started_at=self.started_at,
            finished_at=finished_at,
            status=_status(ok=ok, total=len(outcomes), released=0 if self.is_time_up else released),
            stages=stages,
            audio_s=self.audio_s,
            skipped_s=self.skipped_s,
            wall_s=wall_s,
            files_ok=ok,
            files_failed=failed,
            tokens=self.seconds.tokens,
            peak_rss_bytes=peak_rss_bytes,
            peak_gpu_bytes=self.seconds.peak_gpu_bytes,
            fallbacks=tuple(self.engine.fallbacks),
            host=host,
            versions=versions,
            error=error,
        )


def log_run(run: Run, run_id: int) -> None:
    """Log one line that summarizes the run."""
    log.info(
        "run recorded",
        extra={
            "event": "run_recorded",
            "run_id": run_id,
            "status": str(run.status),
            "files_ok": run.files_ok,
            "files_failed": run.files_failed,
            "audio_s": round(run.audio_s, 1),
            "wall_s": round(run.wall_s, 2),
            "realtime_factor": round(run.realtime_factor, 2),
            "device": run.placement.device,
            "precision": run.placement.precision,
        },
    )


def _status(*, ok: int, total: int, released: int) -> RunStatus:
    if released:
        return RunStatus.INTERRUPTED
    if total and ok == total:
        return RunStatus.DONE
    return RunStatus.PARTIAL if ok else RunStatus.FAILED
