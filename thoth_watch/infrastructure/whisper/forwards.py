"""Forms forward passes from recordings; a bad window or a full memory harms no other recording."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from thoth_watch.application.ports import EngineSeconds, Recording, TranscriptionResult
from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.whisper.batch_size import BatchSize
from thoth_watch.infrastructure.whisper.hearing import Ear, Piece
from thoth_watch.infrastructure.whisper.jobs import Heard, Job
from thoth_watch.infrastructure.whisper.vocabulary import ENGLISH, Vocabulary

log = logging.getLogger(__name__)

PASSES_AHEAD = 4  # trimmed windows: recordings for so many forward passes are sorted by length,
AUDIO_AHEAD_S = 480.0  # as long as no more than so much sound waits


class Forwards:
    """Windows in, transcripts out; never more than one forward pass of windows is waiting."""

    def __init__(
        self, ear: Ear, *, size: BatchSize, on_smaller: Callable[[int, str], None]
    ) -> None:
        """size: windows per forward pass. on_smaller(got, why): memory made it smaller."""
        self._ear, self._size = ear, size
        self._on_smaller = on_smaller

    @property
    def size(self) -> int:
        """Windows of the next forward pass, at most."""
        return self._size.now

    def run(
        self,
        recordings: Iterable[Recording],
        *,
        vocabulary: Vocabulary,
        shares: bool,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield recordings as they are finished; see TranscriptionEngine.transcribe.

        shares: whether windows of several recordings share a forward pass.
        """
        queue = _Queue(iter(recordings), vocabulary, self._ear, shares=shares)
        try:
            while not should_stop():
                pieces = queue.take(self.size)
                if pieces and should_stop():  # decoding a file may have taken long
                    return
                advanced_s = 0.0
                for piece, heard in zip(pieces, self._hear(pieces, seconds), strict=True):
                    if isinstance(heard, Exception):
                        piece.job.fail(f"{type(heard).__name__}: {heard}")
                    elif piece.job.error is None:
                        piece.job.add(heard, piece.window)
                        seconds.tokens += heard.n_tokens
                        advanced_s += 0.0 if piece.job.is_careful else heard.advance_s
                if pieces:
                    on_progress(advanced_s)
                yield from queue.finished()
                if not pieces and queue.is_exhausted:
                    return
        finally:
            queue.close()

    def _hear(self, pieces: Sequence[Piece], seconds: EngineSeconds) -> list[Heard | Exception]:
        """What each window became, or why nothing: the whole forward pass, else smaller ones."""
        if not pieces:
            return []
        try:
            heard: list[Heard | Exception] = list(self._ear.hear(pieces, seconds))
        except torch.AcceleratorError as error:
            raise EngineUnavailable(f"the device failed: {error}") from error
        except Exception as error:  # noqa: BLE001 - decided here: whose fault is it?
            failure = error.with_traceback(None)  # frees the tensors that its frames hold
        else:
            self._size.went_well(len(pieces))
            return heard
        if len(pieces) == 1:
            return [failure]
        if is_out_of_memory(failure):
            self._size.failed(len(pieces))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._on_smaller(self.size, str(failure).strip().partition("\n")[0])
            step = self.size
        else:
            log.warning(
                "a forward pass of several windows failed; they are decoded one at a time",
                extra={"event": "windows_retried", "windows": len(pieces), "error": str(failure)},
            )
            step = 1
        results: list[Heard | Exception] = []
        while len(results) < len(pieces):
            part = pieces[len(results) : len(results) + min(step, self.size)]
            results += self._hear(part, seconds)
        return results


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a device or on the CPU (which has no error class of its own)."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class _Queue:
    """Takes up recordings as windows are asked for, and hands back those that are done."""

    def __init__(
        self,
        recordings: Iterator[Recording],
        vocabulary: Vocabulary,
        ear: Ear,
        *,
        shares: bool,
    ) -> None:
        self._recordings = recordings
        self._vocabulary = vocabulary
        self._ear = ear
        self._shares = shares
        self._open: list[Job] = []
        self._waiting: list[Recording] = []  # taken from the source, not yet taken up
        self._has_more = True

    @property
    def is_exhausted(self) -> bool:
        """Whether every recording has been taken up and handed back."""
        return not self._has_more and not self._open

    def take(self, size: int) -> list[Piece]:
        """Up to `size` windows for one forward pass; none when one without windows was met."""
        pieces: list[Piece] = []
        for job in self._open:
            self._fill(pieces, job, size)
        while len(pieces) < size and (self._shares or not self._open):
            recording = self._next_recording(size)
            if recording is None:
                self._has_more = False
                break
            job = self._take_up(recording)
            self._open.append(job)
            before = len(pieces)
            self._fill(pieces, job, size)
            if len(pieces) == before == 0:
                break  # hand the empty recording over before the next one is decoded
        return pieces

    def _next_recording(self, size: int) -> Recording | None:
        """The next one, None at the end; where windows are trimmed, the shortest of those at hand.

        A forward pass costs as much as its longest window, so windows of a length should share it.
        """
        if not (self._shares and self._ear.trims):
            return next(self._recordings, None)
        held_s = sum(r.info.decoded_s for r in self._waiting)
        while len(self._waiting) < PASSES_AHEAD * size and held_s < AUDIO_AHEAD_S:
            recording = next(self._recordings, None)
            if recording is None:
                break
            self._waiting.append(recording)
            held_s += recording.info.decoded_s
        if not self._waiting:
            return None
        shortest = min(self._waiting, key=lambda r: r.info.decoded_s)
        self._waiting = [r for r in self._waiting if r is not shortest]
        return shortest

    @staticmethod
    def _fill(pieces: list[Piece], job: Job, size: int) -> None:
        while len(pieces) < size and (window := job.next_window()) is not None:
            pieces.append(Piece(job, window, is_first=job.is_first(window)))

    def _take_up(self, recording: Recording) -> Job:
        """A job for the recording; one that the model cannot do is given up at once."""
        job = Job.taken_up(recording, self._ear.route(recording))
        try:
            self._vocabulary.check_task(recording.task)
            if recording.language is not None:
                job.language = self._vocabulary.language_code(recording.language)
            elif not self._vocabulary.is_multilingual:
                job.language = ENGLISH
        except ValueError as error:
            job.fail(str(error))
        return job

    def finished(self) -> Iterator[TranscriptionResult]:
        """Recordings that are done, each closed before it is handed over.

        One of which something is in doubt is not done yet: that is heard once more, the careful way.
        """
        for job in [job for job in self._open if job.is_done]:
            if self._ear.retries_suspects and (spans := job.doubted()):
                job.hear_again(self._ear.careful_route(job.recording, spans), spans)
                continue
            self._open.remove(job)
            job.close()
            yield job.result()

    def close(self) -> None:
        """Free what is still open."""
        while self._open:
            self._open.pop().close()
        while self._waiting:
            self._waiting.pop().close()
