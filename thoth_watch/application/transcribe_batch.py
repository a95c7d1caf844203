"""Runs one batch from claim to run row: decode, transcribe, publish, record."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from thoth_watch.application.batch_work import BatchWork, log_run
from thoth_watch.application.decode_ahead import decode_ahead
from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.failed_attempt import outcome_of, reject_truncated
from thoth_watch.application.known_results import Key, KnownResults, fingerprint_of
from thoth_watch.application.output_names import Destination
from thoth_watch.application.partial_transcripts import PartialTranscripts
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EnginePool, Progress, TranscriptionResult
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import Claim, RunLog, StoredResult
from thoth_watch.application.provenance import provenance_of
from thoth_watch.application.publish_transcript import NewTranscript
from thoth_watch.application.publish_unchanged import PublishUnchanged
from thoth_watch.application.transcribe_channels import transcribe_channels
from thoth_watch.application.write_behind import WriteBehind
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import (
    AudioError,
    EngineUnavailable,
    RetryLater,
    TranscribedElsewhere,
)
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.speakers import assign_speakers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _PendingResult:
    """A transcribed recording whose result is not recorded yet."""

    item: WaitingFile
    recording: Recording
    result: StoredResult
    reused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Facts about this process for the run rows and transcripts, and its limits for a batch.

    may_start_file: returns True if a batch that runs for that many seconds may start another file.
    writes_synchronously: write each file before the next one starts, so that a kill loses only
    files in progress; otherwise a thread writes them while the engine computes.
    """

    host: str
    provenance: Mapping[str, Any]
    peak_rss_bytes: Callable[[], int]
    may_start_file: Callable[[float], bool] = lambda _: True
    writes_synchronously: bool = False


class TranscribeBatch:
    """Runs claimed batches, one at a time."""

    def __init__(
        self,
        *,
        runs: RunLog,
        known: KnownResults,
        reader: RecordingReader,
        engines: EnginePool,
        publish: PublishUnchanged,
        clock: Clock,
        progress: Progress,
        options: BatchOptions,
    ) -> None:
        self._runs = runs
        self._known = known
        self._reader = reader
        self._engines = engines
        self._publish = publish
        self._clock = clock
        self._progress = progress
        self._options = options

    def __call__(self, claim: Claim, *, should_stop: Callable[[], bool]) -> list[FileOutcome]:
        """Transcribe one claimed batch; return the outcome of each file that was processed.

        Files that were not started when should_stop or may_start_file ended the batch become READY
        again; the first file is always started.
        """
        started_s = self._clock.monotonic_s()
        started_at = self._clock.now()
        batch = claim.batch
        try:
            engine = self._engines.engine(batch.files[0].file_options.model)
        except EngineUnavailable as error:
            return self._fail_without_engine(claim, error)
        run_id = self._runs.open_run(
            claim, requested=self._engines.requested, placement=engine.placement, now=started_at
        )
        partials = PartialTranscripts(self._known.ledger, self._clock)
        work = BatchWork(claim, run_id, started_at, engine, partials=partials)
        work.stages.load_s = self._engines.pop_load_s(engine)
        work.stages.queue_s = max(0.0, started_at.timestamp() - batch.oldest_ready_at_s)
        self._progress.begin(files=len(batch.files), audio_s=batch.audio_s)
        error_text: str | None = None
        broken: EngineUnavailable | None = None
        try:
            self._transcribe(work, should_stop)
        except RetryLater:
            raise  # the ledger is unavailable: nothing more can be recorded
        except Exception as error:
            error_text = f"{type(error).__name__}: {error}"
            log.exception(
                "batch failed; its remaining files are recorded as failed attempts",
                extra={"event": "batch_failed", "run_id": run_id},
            )
            self._fail_rest(work, error)
            broken = error if isinstance(error, EngineUnavailable) else None
        finally:
            self._progress.end()
            for recording in work.recordings.values():
                recording.close()
        released = self._runs.release(claim, now=self._clock.now())
        run = work.build_run(
            requested=self._engines.requested,
            host=self._options.host,
            finished_at=self._clock.now(),
            wall_s=self._clock.monotonic_s() - started_s,
            peak_rss_bytes=self._options.peak_rss_bytes(),
            released=released,
            error=error_text,
        )
        self._runs.close_run(run_id, run, list(work.outcomes.values()))
        log_run(run, run_id)
        if broken is not None:
            raise broken  # the process must exit after a device failure; its manager restarts it
        return list(work.outcomes.values())

    def _transcribe(self, work: BatchWork, should_stop: Callable[[], bool]) -> None:
        waiting = {item.file_id: item for item in work.claim.batch.files}
        with WriteBehind[_PendingResult](
            lambda results: self._publish_results(work, results),
            is_synchronous=self._options.writes_synchronously,
        ) as pending:
            done = transcribe_channels(
                work.engine,
                self._recordings(work, pending, should_stop),
                seconds=work.seconds,
                on_progress=self._progress.advance,
                should_stop=should_stop,
            )
            try:
                for finished in done:
                    work.partials.discard(finished.key)
                    self._finish(work, pending, waiting[finished.key], finished)
            finally:
                work.partials.save_all()

    def _recordings(
        self, work: BatchWork, pending: WriteBehind[_PendingResult], should_stop: Callable[[], bool]
    ) -> Iterator[Recording]:
        """Yield recordings as the engine consumes them; undecodable files are failed and left out."""
        files = work.claim.batch.files
        started_s = self._clock.monotonic_s()
        is_first = True

        def must_end() -> bool:
            elapsed_s = self._clock.monotonic_s() - started_s
            work.is_time_up = not is_first and (
                work.is_time_up or not self._options.may_start_file(elapsed_s)
            )
            return work.is_time_up or should_stop()

        queried: set[Key] = set()
        for group in decode_ahead(self._reader, files, clock=self._clock, should_stop=must_end):
            is_first = False
            decoded = deque(group)
            try:
                keys = {
                    (recording.sha256, self._fingerprint(work, item))
                    for item, recording, _ in group
                    if isinstance(recording, Recording)
                }
                new = self._known.find_missing(keys - queried) if keys else set()
                queried |= keys
                while decoded:
                    item, recording, decode_s = decoded.popleft()
                    work.stages.decode_s += decode_s
                    prepared = self._prepare(work, pending, item, recording, new)
                    if prepared is not None:
                        yield prepared
                    if decoded and must_end():
                        return
            finally:
                for _, recording, _ in decoded:  # decoded, but not consumed
                    if isinstance(recording, Recording):
                        recording.close()

    def _prepare(
        self,
        work: BatchWork,
        pending: WriteBehind[_PendingResult],
        item: WaitingFile,
        recording: Recording | AudioError | RetryLater,
        new: set[Key],
    ) -> Recording | None:
        """Return the recording with its options for the engine; None if it needs no transcription.

        new: keys without a result when the ledger was queried for the whole group. A key is removed
        when it is used, so that the next file with the same audio queries the ledger again.
        """
        try:
            if not isinstance(recording, Recording):
                raise recording
            reject_truncated(recording, item, now=self._clock.now())
        except (AudioError, RetryLater) as error:
            self._fail(work, item, error)
            return None
        fingerprint = self._fingerprint(work, item)
        key = recording.sha256, fingerprint
        try:
            known = self._known.find(work.claim, *key, is_new=key in new)
        except TranscribedElsewhere as error:
            recording.close()
            self._fail(work, item, error, sha256=recording.sha256)
            return None
        new.discard(key)
        work.audio_s += recording.duration_s
        if known is not None:
            recording.close()
            self._progress.advance(recording.duration_s)
            pending.put(_PendingResult(item, recording, known, reused=True))
            return None
        file_options = item.file_options
        prepared = replace(
            recording,
            language=file_options.language,
            task=file_options.task,
            prompt=file_options.prompt,
        )
        prepared = work.partials.resume(prepared, fingerprint)
        work.recordings[item.file_id] = prepared
        return prepared

    def _finish(
        self,
        work: BatchWork,
        pending: WriteBehind[_PendingResult],
        item: WaitingFile,
        finished: TranscriptionResult,
    ) -> None:
        recording = work.recordings.pop(item.file_id)
        recording.close()
        if finished.transcript is None:
            self._fail(
                work, item, RuntimeError(finished.error or "the engine returned no transcript")
            )
            return
        transcript = finished.transcript
        work.skipped_s += transcript.skipped_s
        if recording.turns is not None and self._reader.speakers is not None:
            transcript = assign_speakers(transcript, recording.turns)
            work.diarization = self._reader.speakers.name
        provenance = provenance_of(
            self._options.provenance,
            work.engine,
            recording,
            transcript,
            speakers=self._reader.speakers,
        )
        result = StoredResult(transcript=transcript, provenance=provenance)
        pending.put(_PendingResult(item, recording, result, reused=False))

    def _publish_results(self, work: BatchWork, pending: list[_PendingResult]) -> None:
        """Make results durable in the ledger, then publish the transcripts."""
        started_s = self._clock.monotonic_s()
        new = [
            NewTranscript(
                Destination(result.item, result.recording.sha256, claim_no=work.claim.claim_no),
                fingerprint=self._fingerprint(work, result.item),
                result=result.result,
                reused=result.reused,
            )
            for result in pending
        ]
        outcomes = self._publish.new(new, claim=work.claim, run_id=work.run_id)
        for result, outcome in zip(pending, outcomes, strict=True):
            if isinstance(outcome, AudioError | RetryLater):
                self._fail(work, result.item, outcome, sha256=result.recording.sha256)
            elif outcome is None:
                text = "discarding stale result: the file changed or was claimed by another worker"
                log.warning(text, extra={"event": "fenced", "path": str(result.item.file.path)})
            else:
                self._record_outcome(work, result.item, outcome)
                if not result.reused:
                    key = result.recording.sha256, self._fingerprint(work, result.item)
                    self._known.store(*key, result.result)
        work.stages.write_s += self._clock.monotonic_s() - started_s

    def _fail(
        self, work: BatchWork, item: WaitingFile, error: Exception, *, sha256: str | None = None
    ) -> None:
        """Record a file's failure and its next state; the rest of the batch continues."""
        outcome = outcome_of(error, item, now=self._clock.now(), sha256=sha256)
        self._runs.record_failure(
            work.claim, outcome=outcome, run_id=work.run_id, now=self._clock.now()
        )
        self._record_outcome(work, item, outcome)

    def _record_outcome(self, work: BatchWork, item: WaitingFile, outcome: FileOutcome) -> None:
        work.outcomes[item.file_id] = outcome
        self._progress.finished(item.file.path, outcome.state, outcome.reason)

    def _fail_rest(self, work: BatchWork, error: Exception) -> None:
        for item in work.claim.batch.files:
            if item.file_id not in work.outcomes:
                self._fail(work, item, error)

    def _fail_without_engine(self, claim: Claim, error: EngineUnavailable) -> list[FileOutcome]:
        now = self._clock.now()
        run_id = self._runs.record_failed_start(
            requested=self._engines.requested, error=str(error), host=self._options.host, now=now
        )
        outcomes = [outcome_of(error, item, now=now) for item in claim.batch.files]
        for item, outcome in zip(claim.batch.files, outcomes, strict=True):
            self._runs.record_failure(claim, outcome=outcome, run_id=run_id, now=now)
            self._progress.finished(item.file.path, outcome.state, outcome.reason)
        log.error(
            "engine unavailable; the files of this batch are retried later",
            extra={"event": "engine_unavailable", "error": str(error)},
        )
        return outcomes

    def _fingerprint(self, work: BatchWork, item: WaitingFile) -> str:
        return fingerprint_of(work.engine, item.file_options, speakers=self._reader.speakers)
