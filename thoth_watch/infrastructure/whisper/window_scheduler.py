"""The window scheduler: group the windows of recordings into forward passes.

A window that fails affects only its recording, and running out of memory only the batch size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionResult
from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.whisper.batch_size import BatchSize
from thoth_watch.infrastructure.whisper.decoding.special_tokens import ENGLISH, SpecialTokens
from thoth_watch.infrastructure.whisper.longform.recording_job import RecordingJob, WindowResult
from thoth_watch.infrastructure.whisper.window_transcriber import WindowJob, WindowTranscriber

log = logging.getLogger(__name__)

# Trimmed windows are cheapest with others of their length, so recordings for this number of forward
# passes are decoded ahead and sorted by length, up to this many seconds of audio.
MAX_PASSES_AHEAD = 4
MAX_AUDIO_AHEAD_S = 480.0


class WindowScheduler:
    """Transcribes recordings; never cuts more windows than the next forward pass needs."""

    def __init__(
        self,
        transcriber: WindowTranscriber,
        *,
        size: BatchSize,
        on_size_reduced: Callable[[int, str], None],
    ) -> None:
        """Set the dependencies.

        size: the batch size. on_size_reduced(batch_size, reason): called when running out of memory has
        reduced the batch size.
        """
        self._transcriber, self._size = transcriber, size
        self._on_size_reduced = on_size_reduced

    @property
    def size(self) -> int:
        """Return the current batch size: the maximum number of windows of the next forward pass."""
        return self._size.current

    def run(
        self,
        recordings: Iterable[Recording],
        *,
        special_tokens: SpecialTokens,
        is_batched_across_recordings: bool,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield the result of each recording as soon as it is finished; see TranscriptionEngine.transcribe.

        is_batched_across_recordings: whether windows of several recordings share a forward pass.
        """
        queue = _Queue(
            iter(recordings),
            special_tokens,
            self._transcriber,
            is_batched_across_recordings=is_batched_across_recordings,
        )
        try:
            while not should_stop():
                window_jobs = queue.next_windows(self.size)
                if window_jobs and should_stop():  # decoding an audio file may have taken long
                    return
                advanced_s = 0.0
                for window_job, result in zip(
                    window_jobs, self._transcribe(window_jobs, seconds), strict=True
                ):
                    if isinstance(result, Exception):
                        window_job.job.fail(f"{type(result).__name__}: {result}")
                    elif window_job.job.error is None:
                        window_job.job.add(result, window_job.window)
                        seconds.tokens += result.n_tokens
                        advanced_s += 0.0 if window_job.job.is_careful else result.advance_s
                if window_jobs:
                    on_progress(advanced_s)
                yield from queue.finished()
                if not window_jobs and queue.is_exhausted:
                    return
        finally:
            queue.close()

    def _transcribe(
        self, window_jobs: Sequence[WindowJob], seconds: EngineSeconds
    ) -> list[WindowResult | Exception]:
        """Transcribe windows in one forward pass, or in smaller ones if it fails.

        Returns the result of each window, or its error.
        """
        if not window_jobs:
            return []
        try:
            pass_results: list[WindowResult | Exception] = list(
                self._transcriber.transcribe(window_jobs, seconds)
            )
        except torch.AcceleratorError as error:
            raise EngineUnavailable(f"the device failed: {error}") from error
        except Exception as error:  # noqa: BLE001 - smaller passes find the window that failed
            failure = error.with_traceback(None)  # frees the tensors that the frames reference
        else:
            self._size.record_success(len(window_jobs))
            return pass_results
        if len(window_jobs) == 1:
            return [failure]
        if is_out_of_memory(failure):
            self._size.record_failure(len(window_jobs))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._on_size_reduced(self.size, str(failure).strip().partition("\n")[0])
            step = self.size
        else:
            log.warning(
                "forward pass of several windows failed; retrying them one at a time",
                extra={
                    "event": "windows_retried",
                    "windows": len(window_jobs),
                    "error": str(failure),
                },
            )
            step = 1
        results: list[WindowResult | Exception] = []
        while len(results) < len(window_jobs):
            part = window_jobs[len(results) : len(results) + min(step, self.size)]
            results += self._transcribe(part, seconds)
        return results


def is_out_of_memory(error: Exception) -> bool:
    """Return True if a GPU or the CPU ran out of memory; torch has no error class for the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class _Queue:
    """Starts recordings when windows are needed, and returns those that are finished."""

    def __init__(
        self,
        recordings: Iterator[Recording],
        special_tokens: SpecialTokens,
        transcriber: WindowTranscriber,
        *,
        is_batched_across_recordings: bool,
    ) -> None:
        self._recordings = recordings
        self._special_tokens = special_tokens
        self._transcriber = transcriber
        self._is_batched_across_recordings = is_batched_across_recordings
        self._active: list[RecordingJob] = []
        self._waiting: list[Recording] = []  # decoded, not yet started
        self._has_more = True

    @property
    def is_exhausted(self) -> bool:
        """Return True if every recording has been started and finished."""
        return not self._has_more and not self._active

    def next_windows(self, size: int) -> list[WindowJob]:
        """Return up to `size` windows for one forward pass; none if the next recording has no windows."""
        window_jobs: list[WindowJob] = []
        for job in self._active:
            self._fill(window_jobs, job, size)
        while len(window_jobs) < size and (self._is_batched_across_recordings or not self._active):
            recording = self._next_recording(size)
            if recording is None:
                self._has_more = False
                break
            job = self._start_job(recording)
            self._active.append(job)
            before = len(window_jobs)
            self._fill(window_jobs, job, size)
            if len(window_jobs) == before == 0:
                break  # yield the recording without windows before decoding the next one
        return window_jobs

    def _next_recording(self, size: int) -> Recording | None:
        """Return the next recording; None at the end. If windows are trimmed, the shortest waiting one.

        A forward pass costs as much as its longest window, so windows of similar length should share it.
        """
        if not (self._is_batched_across_recordings and self._transcriber.trims):
            return next(self._recordings, None)
        waiting_s = sum(r.info.decoded_s for r in self._waiting)
        while len(self._waiting) < MAX_PASSES_AHEAD * size and waiting_s < MAX_AUDIO_AHEAD_S:
            recording = next(self._recordings, None)
            if recording is None:
                break
            self._waiting.append(recording)
            waiting_s += recording.info.decoded_s
        if not self._waiting:
            return None
        shortest = min(self._waiting, key=lambda r: r.info.decoded_s)
        self._waiting = [r for r in self._waiting if r is not shortest]
        return shortest

    @staticmethod
    def _fill(window_jobs: list[WindowJob], job: RecordingJob, size: int) -> None:
        while len(window_jobs) < size and (window := job.next_window()) is not None:
            window_jobs.append(WindowJob(job, window, is_first=job.is_first(window)))

    def _start_job(self, recording: Recording) -> RecordingJob:
        """Return a job for the recording, already failed if the model lacks its task or language."""
        job = RecordingJob.for_recording(
            recording, self._transcriber.build_window_source(recording)
        )
        try:
            self._special_tokens.check_task(recording.task)
            if recording.language is not None:
                job.language = self._special_tokens.language_code(recording.language)
            elif not self._special_tokens.is_multilingual:
                job.language = ENGLISH
        except ValueError as error:
            job.fail(str(error))
        return job

    def finished(self) -> Iterator[TranscriptionResult]:
        """Close finished recordings and yield their results.

        Suspect spans of a recording are first decoded again, carefully.
        """
        for job in [job for job in self._active if job.is_done]:
            if self._transcriber.is_suspect_retry_enabled and (spans := job.suspect_spans()):
                job.retry_spans(self._transcriber.build_retry_source(job.recording, spans), spans)
                continue
            self._active.remove(job)
            job.close()
            yield job.result()

    def close(self) -> None:
        """Close all unfinished recordings."""
        while self._active:
            self._active.pop().close()
        while self._waiting:
            self._waiting.pop().close()
