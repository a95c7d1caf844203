"""One batch, from claim to run row: decode, transcribe, publish, record."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from thoth_watch.application.batch_work import BatchWork, log_run
from thoth_watch.application.decode_ahead import decode_ahead
from thoth_watch.application.destination import Destination
from thoth_watch.application.failed_attempt import outcome_of
from thoth_watch.application.known_results import Key, KnownResults
from thoth_watch.application.partial_transcripts import PartialTranscripts
from thoth_watch.application.ports import (
    AudioDecoder,
    AudioFiles,
    Claim,
    Clock,
    EnginePool,
    FileStatus,
    Ledger,
    Progress,
    Recording,
    SpeakerDiarization,
    StoredResult,
    TranscriptionResult,
    VoiceActivityDetector,
)
from thoth_watch.application.provenance import provenance_of
from thoth_watch.application.publish_transcript import NewTranscript, PublishTranscript
from thoth_watch.application.transcribe_channels import transcribe_channels
from thoth_watch.application.write_behind import WriteBehind
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.errors import (
    AudioError,
    AudioTruncated,
    EngineUnavailable,
    FileChanged,
    FileGone,
    RetryLater,
    TranscribedElsewhere,
)
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.speakers import assign_speakers
from thoth_watch.domain.states import TRUNCATED_ACCEPTED_AFTER_S, TRUNCATED_ATTEMPTS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _PendingResult:
    """A recording that has its transcript."""

    item: WaitingFile
    recording: Recording
    result: StoredResult
    reused: bool


class TranscribeBatch:
    """Runs claimed batches, one at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        decoder: AudioDecoder,
        engines: EnginePool,
        publish: PublishTranscript,
        files: AudioFiles,
        clock: Clock,
        progress: Progress,
        peak_rss_bytes: Callable[[], int],
        host: str,
        provenance: Mapping[str, Any],
        may_start_file: Callable[[float], bool] = lambda _: True,
        voice: VoiceActivityDetector | None = None,
        speakers: SpeakerDiarization | None = None,
        known: KnownResults | None = None,
        writes_synchronously: bool = False,
    ) -> None:
        """may_begin_another: whether a batch that works since so many seconds may take up another file.

        writes_at_once: no other file is taken up before one is written, so that a kill costs only those
        under way; else they are written beside the engine's work.
        """
        self._ledger = ledger
        self._decoder = decoder
        self._engines = engines
        self._publish = publish
        self._files = files
        self._clock = clock
        self._progress = progress
        self._peak_rss_bytes = peak_rss_bytes
        self._host = host
        self._provenance = provenance
        self._may_start_file = may_start_file
        self._voice = voice
        self._speakers = speakers
        self._known = known or KnownResults(ledger)
        self._writes_synchronously = writes_synchronously

    def __call__(self, claim: Claim, *, should_stop: Callable[[], bool]) -> list[FileOutcome]:
        """Transcribe one claimed batch; what became of each file that came to an end.

        Files that were not reached when should_stop turned true, or when no other might be begun, are
        READY again; the first one always is begun.
        """
        started_s = self._clock.monotonic_s()
        started_at = self._clock.now()
        batch = claim.batch
        try:
            engine = self._engines.engine(batch.files[0].file_options.model)
        except EngineUnavailable as error:
            return self._fail_without_engine(claim, error)
        run_id = self._ledger.open_run(
            claim, requested=self._engines.requested, placement=engine.placement, now=started_at
        )
        partials = PartialTranscripts(self._ledger, self._clock)
        work = BatchWork(claim, run_id, started_at, engine, partials=partials)
        work.stages.load_s = self._engines.pop_load_s(engine)
        work.stages.queue_s = max(0.0, started_at.timestamp() - batch.oldest_ready_at_s)
        self._progress.begin(files=len(batch.files), audio_s=batch.audio_s)
        error_text: str | None = None
        broken: EngineUnavailable | None = None
        try:
            self._transcribe(work, should_stop)
        except RetryLater:
            raise  # the ledger itself is in the way: nothing more can be recorded now
        except Exception as error:
            error_text = f"{type(error).__name__}: {error}"
            log.exception("a batch failed", extra={"event": "batch_failed", "run_id": run_id})
            self._fail_rest(work, error)
            broken = error if isinstance(error, EngineUnavailable) else None
        finally:
            self._progress.end()
            for recording in work.recordings.values():
                recording.close()
        released = self._ledger.release(claim, now=self._clock.now())
        run = work.build_run(
            requested=self._engines.requested,
            host=self._host,
            finished_at=self._clock.now(),
            wall_s=self._clock.monotonic_s() - started_s,
            peak_rss_bytes=self._peak_rss_bytes(),
            released=released,
            error=error_text,
        )
        self._ledger.close_run(run_id, run, list(work.outcomes.values()))
        log_run(run, run_id)
        if broken is not None:
            raise broken  # a device that failed takes the process with it; its manager starts anew
        return list(work.outcomes.values())

    def _transcribe(self, work: BatchWork, should_stop: Callable[[], bool]) -> None:
        waiting = {item.file_id: item for item in work.claim.batch.files}
        with WriteBehind[_PendingResult](
            lambda some: self._publish_results(work, some),
            is_synchronous=self._writes_synchronously,
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
        """Recording after recording as the engine asks for them; a bad one never reaches the engine."""
        files = work.claim.batch.files
        begun_s = self._clock.monotonic_s()
        is_first = True

        def no_other() -> bool:
            took_s = self._clock.monotonic_s() - begun_s
            work.is_time_up = not is_first and (work.is_time_up or not self._may_start_file(took_s))
            return work.is_time_up or should_stop()

        requested: set[Key] = set()
        for some in decode_ahead(
            self._decoder,
            files,
            clock=self._clock,
            voice=self._voice,
            speakers=self._speakers,
            should_stop=no_other,
        ):
            is_first = False
            decoded = deque(some)
            try:
                keys = {
                    (recording.sha256, self._fingerprint(work, item))
                    for item, recording, _ in some
                    if isinstance(recording, Recording)
                }
                new = self._known.find_missing(keys - requested) if keys else set()
                requested |= keys
                while decoded:
                    item, recording, decode_s = decoded.popleft()
                    work.stages.decode_s += decode_s
                    given = self._prepare(work, pending, item, recording, new)
                    if given is not None:
                        yield given
                    if decoded and no_other():
                        return
            finally:
                for _, recording, _ in decoded:  # nobody asked for these any more
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
        """The recording as the engine is to hear it; None where there is nothing for it to do.

        new: keys that the ledger had no result of when it was asked for several at once; one is taken
        out when it is used, so that the next file of the same sound asks again.
        """
        try:
            if not isinstance(recording, Recording):
                raise recording
            self._reject_truncated(item, recording)
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
        requested = replace(
            recording,
            language=file_options.language,
            task=file_options.task,
            prompt=file_options.prompt,
        )
        requested = work.partials.resume(requested, fingerprint)
        work.recordings[item.file_id] = requested
        return requested

    def _reject_truncated(self, item: WaitingFile, recording: Recording) -> None:
        """A recording cut short is looked at again until it has been quiet for an hour.

        One whose times are in the future never seems to be: there the tries decide.
        """
        cut = next((w for w in recording.info.warnings if w.startswith("truncated")), None)
        quiet_s = self._clock.now().timestamp() - item.file.signature.modified_ns / 1e9
        is_believed = quiet_s >= TRUNCATED_ACCEPTED_AFTER_S or item.attempts >= TRUNCATED_ATTEMPTS
        if cut is not None and not is_believed:
            recording.close()
            raise AudioTruncated(cut)

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
            self._fail(work, item, RuntimeError(finished.error or "the engine gave no transcript"))
            return
        transcript = finished.transcript
        work.skipped_s += transcript.skipped_s
        if recording.turns is not None and self._speakers is not None:
            transcript = assign_speakers(transcript, recording.turns)
            work.diarization = self._speakers.name
        provenance = provenance_of(
            self._provenance, work.engine, recording, transcript, speakers=self._speakers
        )
        result = StoredResult(transcript=transcript, provenance=provenance)
        pending.put(_PendingResult(item, recording, result, reused=False))

    def _publish_results(self, work: BatchWork, pending: list[_PendingResult]) -> None:
        """Make results durable, then put the transcripts beside the recordings."""
        begun_s = self._clock.monotonic_s()
        there = []
        for one in pending:
            try:
                match self._files.file_status(one.item.file):
                    case FileStatus.GONE:
                        raise FileGone("the recording was removed while it was transcribed")
                    case FileStatus.CHANGED:
                        raise FileChanged("the recording changed while it was transcribed")
                    case FileStatus.SAME:
                        there.append(one)
            except (AudioError, RetryLater) as error:
                self._fail(work, one.item, error, sha256=one.recording.sha256)
        new = [
            NewTranscript(
                Destination(one.item, one.recording.sha256, claim_no=work.claim.claim_no),
                fingerprint=self._fingerprint(work, one.item),
                result=one.result,
                reused=one.reused,
            )
            for one in there
        ]
        outcomes = self._publish.new(new, claim=work.claim, run_id=work.run_id)
        for one, outcome in zip(there, outcomes, strict=True):
            if isinstance(outcome, RetryLater):
                self._fail(work, one.item, outcome, sha256=one.recording.sha256)
            elif outcome is None:
                text = "a late result is thrown away: its file is another's, or another one, by now"
                log.warning(text, extra={"event": "fenced", "path": str(one.item.file.path)})
            else:
                self._record_outcome(work, one.item, outcome)
                if not one.reused:
                    key = one.recording.sha256, self._fingerprint(work, one.item)
                    self._known.store(*key, one.result)
        work.stages.write_s += self._clock.monotonic_s() - begun_s

    def _fail(
        self, work: BatchWork, item: WaitingFile, error: Exception, *, sha256: str | None = None
    ) -> None:
        """Record a file's failure and what is to become of it; the rest of the batch goes on."""
        outcome = outcome_of(error, item, now=self._clock.now(), sha256=sha256)
        self._ledger.record_failure(
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
        run_id = self._ledger.record_failed_start(
            requested=self._engines.requested, error=str(error), host=self._host, now=now
        )
        outcomes = [outcome_of(error, item, now=now) for item in claim.batch.files]
        for item, outcome in zip(claim.batch.files, outcomes, strict=True):
            self._ledger.record_failure(claim, outcome=outcome, run_id=run_id, now=now)
            self._progress.finished(item.file.path, outcome.state, outcome.reason)
        log.error("no engine for this batch", extra={"event": "no_engine", "error": str(error)})
        return outcomes

    def _fingerprint(self, work: BatchWork, item: WaitingFile) -> str:
        """The engine's fingerprint with what this file was asked to be transcribed as."""
        requested = item.file_options
        words = [requested.language or "auto", requested.task, f"vad-{requested.vad}"]
        if requested.channels != Channels.MIX:
            words.append(requested.channels)
        if requested.diarize and self._speakers is not None:
            words.append(self._speakers.fingerprint)
        if requested.prompt is not None:
            words.append(sha256(requested.prompt.encode()).hexdigest()[:16])
        return ":".join((work.engine.fingerprint, *words))
