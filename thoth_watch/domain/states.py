"""The states a file goes through, the moves that are legal, and when a failed one is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a file stands; every state but DONE comes with a reason."""

    SEEN = "SEEN"  # name known, not yet quiet
    READY = "READY"  # quiet, waits for a batch
    CLAIMED = "CLAIMED"  # in a batch; attempts were counted before the file was opened
    RESULT = "RESULT"  # the transcript is durable in the ledger, not yet beside the file
    DONE = "DONE"  # transcript beside the file
    RETRY = "RETRY"  # tried, will be tried again at next_try_at
    FAILED = "FAILED"  # the content says no
    QUARANTINED = "QUARANTINED"  # killed the worker twice, the second time alone
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
UNFINISHED = NEEDS_ATTENTION | {State.SEEN, State.RETRY}  # `once` exits 1 on any of these


def is_legal_transition(before: State, after: State) -> bool:
    """Whether a file may go from one state to the other (staying is always legal)."""
    return before == after or after in LEGAL_TRANSITIONS[before]


class Cause(StrEnum):
    """Whose fault a failed attempt was; decides what happens next."""

    ENVIRONMENT = "environment"  # disk full, permissions, memory: never counts against the file
    UNFINISHED = "unfinished"  # changed while read: settle again
    TRUNCATED = "cut_short"  # less sound than declared: looked at again, later and later
    CONTENT = "content"  # not audio: confirmed once, then FAILED
    CRASH = "crash"  # killed or hung the worker: alone next time, then QUARANTINED
    UNKNOWN = "unknown"  # anything else: five tries


@dataclass(frozen=True, slots=True)
class NextStep:
    """Where a failed attempt leads."""

    state: State
    wait_s: float = 0.0


CONFIRM_CONTENT_S = 60.0
TRUNCATED_FIRST_S, TRUNCATED_MAX_S = 30.0, 600.0
TRUNCATED_ACCEPTED_AFTER_S = 3600.0  # untouched for so long, a short recording is all there will be
TRUNCATED_ATTEMPTS = 10  # they take an hour: for a file whose time is in the future
ENVIRONMENT_FIRST_S, ENVIRONMENT_MAX_S = 10.0, 300.0
UNKNOWN_FIRST_S, UNKNOWN_FACTOR, UNKNOWN_MAX_S, UNKNOWN_ATTEMPTS = 60.0, 4.0, 21_600.0, 5
MAX_RETRY_WAIT_S = UNKNOWN_MAX_S  # a retry that is later than that was planned under another clock
CRASH_LIMIT = 2


def after_failure(cause: Cause, *, attempts: int, crashes: int = 0, setbacks: int = 1) -> NextStep:
    """What becomes of a file whose attempt failed.

    attempts: tries of this version of the file, this one included; environment faults not counted.
    crashes: times that this version killed the worker, this one included.
    setbacks: environment faults in a row, this one included; they only make the wait longer.
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
