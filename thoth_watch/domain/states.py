"""The states of a file, the legal transitions, and the retry rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a file; every state except DONE comes with a reason."""

    SEEN = "SEEN"  # found, not yet settled
    READY = "READY"  # settled, waits for a batch
    CLAIMED = "CLAIMED"  # in a batch; the attempt was counted before the file was opened
    RESULT = "RESULT"  # the transcript is stored durably in the ledger, but not yet published
    DONE = "DONE"  # the transcript is published
    RETRY = "RETRY"  # failed, will be retried at next_try_at
    FAILED = "FAILED"  # failed permanently, e.g. the content is not audio
    QUARANTINED = "QUARANTINED"  # crashed the worker twice, the second time alone in its batch
    REFUSED = "REFUSED"  # not a plain file: symlink, FIFO, device...
    CONFLICT = "CONFLICT"  # a foreign file has the transcript's name
    GONE = "GONE"  # no longer on disk


LEGAL_TRANSITIONS: dict[State, frozenset[State]] = {
    State.SEEN: frozenset({State.READY, State.FAILED, State.REFUSED, State.GONE}),
    State.READY: frozenset({State.CLAIMED, State.SEEN, State.REFUSED, State.GONE}),
    State.CLAIMED: frozenset(
        {
            State.RESULT,
            State.RETRY,
            State.FAILED,
            State.QUARANTINED,
            State.SEEN,
            State.READY,
            State.CONFLICT,
            State.GONE,
            State.REFUSED,
        }
    ),
    State.RESULT: frozenset(
        {
            State.DONE,
            State.CONFLICT,
            State.RETRY,
            State.FAILED,
            State.GONE,
            State.SEEN,
            State.REFUSED,
        }
    ),
    State.DONE: frozenset({State.SEEN, State.READY, State.GONE, State.REFUSED}),
    State.RETRY: frozenset({State.READY, State.SEEN, State.GONE, State.REFUSED}),
    State.FAILED: frozenset({State.SEEN, State.READY, State.GONE, State.REFUSED}),
    State.QUARANTINED: frozenset({State.SEEN, State.READY, State.GONE, State.REFUSED}),
    State.REFUSED: frozenset({State.SEEN, State.GONE}),
    State.CONFLICT: frozenset({State.SEEN, State.READY, State.GONE, State.REFUSED}),
    State.GONE: frozenset({State.SEEN, State.REFUSED}),
}

WAITING = frozenset({State.SEEN, State.READY, State.CLAIMED, State.RESULT, State.RETRY})
NEEDS_ATTENTION = frozenset({State.FAILED, State.QUARANTINED, State.CONFLICT})
UNFINISHED = NEEDS_ATTENTION | {
    State.SEEN,
    State.RETRY,
}  # `once` exits with 1 if any file is in one of these


def is_legal_transition(before: State, after: State) -> bool:
    """Return True if a file may change from one state to the other (staying is always legal)."""
    return before == after or after in LEGAL_TRANSITIONS[before]


class Cause(StrEnum):
    """Cause of a failed attempt; decides the next state."""

    ENVIRONMENT = "environment"  # disk full, permissions, memory: never counts as an attempt
    UNFINISHED = "unfinished"  # changed while it was read: settle again
    TRUNCATED = "cut_short"  # less audio than declared: retried at growing intervals
    CONTENT = "content"  # not audio: retried once to confirm, then FAILED
    CRASH = "crash"  # crashed or hung the worker: retried alone, then QUARANTINED
    UNKNOWN = "unknown"  # anything else: five attempts


@dataclass(frozen=True, slots=True)
class NextStep:
    """The state after a failed attempt, and the wait before a retry."""

    state: State
    wait_s: float = 0.0


CONFIRM_CONTENT_S = 60.0
TRUNCATED_FIRST_S, TRUNCATED_MAX_S = 30.0, 600.0
TRUNCATED_ACCEPTED_AFTER_S = 3600.0  # unchanged for that long: accepted as complete
TRUNCATED_ATTEMPTS = 10  # take about an hour; for a file whose mtime is in the future
ENVIRONMENT_FIRST_S, ENVIRONMENT_MAX_S = 10.0, 300.0
UNKNOWN_FIRST_S, UNKNOWN_FACTOR, UNKNOWN_MAX_S, UNKNOWN_ATTEMPTS = 60.0, 4.0, 21_600.0, 5
MAX_RETRY_WAIT_S = UNKNOWN_MAX_S  # a later retry was scheduled before the clock was set back
CRASH_LIMIT = 2


def after_failure(cause: Cause, *, attempts: int, crashes: int = 0, setbacks: int = 1) -> NextStep:
    """Return the next state of a file whose attempt failed: retry, fail or quarantine it.

    attempts: at this version of the file, including this one; environment failures do not count.
    crashes: times that this version crashed the worker, including this one.
    setbacks: environment failures in a row, including this one; they only lengthen the wait.
    """
    match cause:
        case Cause.ENVIRONMENT:
            wait_s = ENVIRONMENT_FIRST_S * 2 ** min(setbacks - 1, 10)
            return NextStep(State.RETRY, min(wait_s, ENVIRONMENT_MAX_S))
        case Cause.UNFINISHED:
            return NextStep(State.SEEN)
        case Cause.TRUNCATED:
            wait_s = TRUNCATED_FIRST_S * 2 ** min(attempts - 1, 10)
            return NextStep(State.RETRY, min(wait_s, TRUNCATED_MAX_S))
        case Cause.CONTENT:
            return (
                NextStep(State.FAILED)
                if attempts >= 2
                else NextStep(State.RETRY, CONFIRM_CONTENT_S)
            )
        case Cause.CRASH:
            return NextStep(State.QUARANTINED) if crashes >= CRASH_LIMIT else NextStep(State.RETRY)
        case Cause.UNKNOWN:
            if attempts >= UNKNOWN_ATTEMPTS:
                return NextStep(State.FAILED)
            wait_s = UNKNOWN_FIRST_S * UNKNOWN_FACTOR ** (attempts - 1)
            return NextStep(State.RETRY, min(wait_s, UNKNOWN_MAX_S))
