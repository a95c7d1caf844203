"""Publishes the transcripts of recordings that are still the version that was transcribed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thoth_watch.application.ports.inbox import AudioFiles, FileStatus
from thoth_watch.application.ports.ledger import Claim
from thoth_watch.application.publish_transcript import NewTranscript, PublishTranscript
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import AudioError, FileChanged, FileGone, RetryLater
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.run import FileOutcome


class PublishUnchanged:
    """Checks each recording right before its transcript is published."""

    def __init__(self, publish: PublishTranscript, *, files: AudioFiles) -> None:
        self._publish = publish
        self._files = files

    def new(
        self, transcripts: Sequence[NewTranscript], *, claim: Claim, run_id: int
    ) -> list[FileOutcome | AudioError | RetryLater | None]:
        """Publish new results; return the outcome of each, in order.

        FileGone or FileChanged if the recording is no longer the one that was transcribed; otherwise
        as PublishTranscript.new.
        """
        problems = [self._problem(transcript.to.item.file) for transcript in transcripts]
        unchanged = [t for t, problem in zip(transcripts, problems, strict=True) if problem is None]
        published = iter(self._publish.new(unchanged, claim=claim, run_id=run_id))
        return [next(published) if problem is None else problem for problem in problems]

    def leftovers(
        self,
        resolve_file_options: Callable[[AudioFile], FileOptions],
        *,
        is_due: Callable[[WaitingFile], bool],
    ) -> None:
        """Publish those results of killed processes that are due and whose recordings are unchanged.

        Raises RetryLater. The next scan records recordings that changed or are gone.
        """
        for item in self._publish.unpublished(resolve_file_options):
            if not is_due(item.waiting):
                continue
            if self._files.file_status(item.waiting.file) is FileStatus.SAME:
                self._publish.publish_stored(item)

    def _problem(self, file: AudioFile) -> AudioError | RetryLater | None:
        try:
            status = self._files.file_status(file)
        except (AudioError, RetryLater) as error:
            return error
        match status:
            case FileStatus.GONE:
                return FileGone("the recording was removed while it was transcribed")
            case FileStatus.CHANGED:
                return FileChanged("the recording changed while it was transcribed")
            case FileStatus.SAME:
                return None
