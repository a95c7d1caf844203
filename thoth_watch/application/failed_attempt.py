"""Maps the error of a failed attempt to its cause and to the file's next state; rejects truncated files."""

from __future__ import annotations

from datetime import datetime, timedelta

from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import (
    AudioError,
    AudioTruncated,
    DecoderCrashed,
    DiarizationFailed,
    EngineUnavailable,
    FileChanged,
    FileGone,
    NotAudio,
    RetryLater,
)
from thoth_watch.domain.run import FileOutcome
from thoth_watch.domain.states import (
    TRUNCATED_ACCEPTED_AFTER_S,
    TRUNCATED_ATTEMPTS,
    Cause,
    State,
    after_failure,
)

_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (FileChanged, Cause.UNFINISHED),
    (AudioTruncated, Cause.TRUNCATED),
    (DecoderCrashed, Cause.CRASH),
    (NotAudio, Cause.CONTENT),
    (DiarizationFailed, Cause.UNKNOWN),
    (AudioError, Cause.ENVIRONMENT),
    (RetryLater, Cause.ENVIRONMENT),
    (EngineUnavailable, Cause.ENVIRONMENT),
)  # the first match decides


def outcome_of(
    error: Exception, item: WaitingFile, *, now: datetime, sha256: str | None = None
) -> FileOutcome:
    """Return the state that follows a failed attempt, with a reason for the user."""
    reason = str(error) or type(error).__name__
    if isinstance(error, FileGone):
        return FileOutcome(item.file_id, State.GONE, reason)
    cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.UNKNOWN)
    step = after_failure(
        cause,
        attempts=item.attempts + 1,
        crashes=item.crashes + (cause is Cause.CRASH),
        setbacks=item.setbacks + 1,
    )
    next_try_at = None
    if step.state is State.RETRY:
        next_try_at = now + timedelta(seconds=step.wait_s)
        when = f"in {step.wait_s:.0f} s" if step.wait_s else "alone"
        reason += f" (retrying {when})"
    return FileOutcome(
        item.file_id,
        step.state,
        reason,
        sha256=sha256,
        next_try_at=next_try_at,
        counts_as_attempt=cause is not Cause.ENVIRONMENT,
        crashed=cause is Cause.CRASH,
    )


def reject_truncated(recording: Recording, item: WaitingFile, *, now: datetime) -> None:
    """Close a truncated recording and raise AudioTruncated, until its file is unchanged for an hour.

    A modification time in the future never looks that old: there the number of attempts decides.
    """
    warning = next((w for w in recording.info.warnings if w.startswith("truncated")), None)
    quiet_s = now.timestamp() - item.file.signature.modified_ns / 1e9
    is_accepted = quiet_s >= TRUNCATED_ACCEPTED_AFTER_S or item.attempts >= TRUNCATED_ATTEMPTS
    if warning is not None and not is_accepted:
        recording.close()
        raise AudioTruncated(warning)
