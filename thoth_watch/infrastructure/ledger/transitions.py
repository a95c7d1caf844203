"""State transitions of files: checked for legality, fenced by the claim number, and logged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.states import State, is_legal_transition
from thoth_watch.infrastructure.ledger.database.tables import files, publications, transitions

T = TypeVar("T")
CHUNK_SIZE = 500  # values in one IN list
# files in these states get no transcript
STATES_WITHOUT_TRANSCRIPT = frozenset({State.GONE, State.REFUSED, State.FAILED, State.QUARANTINED})


@dataclass(frozen=True, slots=True)
class Transition:
    """The transition of one file to another state, or to a new reason in the same state."""

    file_id: int
    claim_no: int  # the row must still have this number
    before: State
    after: State
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)  # further columns of `files`


def apply_transition(connection: Connection, step: Transition, *, now: datetime) -> bool:
    """Apply one transition; return False if the file's state or claim number is no longer the expected one.

    Raises ValueError for an illegal transition.
    """
    return _apply(connection, [step], now=now)


def apply_transitions(
    connection: Connection, steps: Sequence[Transition], *, now: datetime
) -> None:
    """Apply transitions of rows that were read in the same transaction.

    Raises RetryLater if one of them cannot be applied, so that the transaction is rolled back.
    """
    if steps and not _apply(connection, steps, now=now):
        raise RetryLater("the ledger was changed by another process in the meantime; try again")


def apply_transition_where(
    connection: Connection,
    condition: ColumnElement[bool],
    next_state_of: Callable[[Any], tuple[State, str, dict[str, Any]]],
    *,
    now: datetime,
) -> int:
    """Apply a transition to every file that meets the condition; return how many."""
    columns = (
        files.c.id,
        files.c.claim_no,
        files.c.state,
        files.c.reason,
        files.c.size_bytes,
        files.c.attempts,
        files.c.crashes,
        files.c.setbacks,
    )
    steps = []
    for row in connection.execute(select(*columns).where(condition).with_for_update()):
        after, reason, values = next_state_of(row)
        steps.append(Transition(row.id, row.claim_no, State(row.state), after, reason, values))
    apply_transitions(connection, steps, now=now)
    return len(steps)


def _apply(connection: Connection, steps: Sequence[Transition], *, now: datetime) -> bool:
    groups: dict[tuple[str, ...], list[Transition]] = {}
    for step in steps:
        if not is_legal_transition(step.before, step.after):
            raise ValueError(
                f"file {step.file_id}: {step.before} to {step.after} is not a legal transition"
            )
        groups.setdefault(tuple(sorted(step.values)), []).append(step)
    for columns, members in groups.items():
        statement = (
            update(files)
            .where(
                files.c.id == bindparam("_file_id"),
                files.c.state == bindparam("_before"),
                files.c.claim_no == bindparam("_claim_no"),
            )
            .values({name: bindparam(name) for name in ("state", "reason", "updated_at", *columns)})
        )
        rows = [
            {
                **step.values,
                "_file_id": step.file_id,
                "_before": str(step.before),
                "_claim_no": step.claim_no,
                "state": str(step.after),
                "reason": _non_empty_reason(step),
                "updated_at": now,
            }
            for step in members
        ]
        if connection.execute(statement, rows).rowcount != len(rows):
            return False
    _record_transitions(connection, steps, now=now)
    release_names(
        connection, (step.file_id for step in steps if step.after in STATES_WITHOUT_TRANSCRIPT)
    )
    return True


def release_names(connection: Connection, file_ids: Iterable[int]) -> None:
    """Delete the output names that these files reserved but never used."""
    for chunk in chunks(list(file_ids)):
        connection.execute(
            delete(publications).where(
                publications.c.file_id.in_(chunk), publications.c.sha256.is_(None)
            )
        )


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Split values into lists of CHUNK_SIZE, short enough for one statement."""
    return (values[start : start + CHUNK_SIZE] for start in range(0, len(values), CHUNK_SIZE))


def _record_transitions(
    connection: Connection, steps: Sequence[Transition], *, now: datetime
) -> None:
    rows = [
        {
            "file_id": step.file_id,
            "at": now,
            "before": str(step.before),
            "after": str(step.after),
            "reason": _non_empty_reason(step),
            "claim_no": step.values.get("claim_no", step.claim_no),
        }
        for step in steps
        if step.before != step.after
    ]
    if rows:
        connection.execute(insert(transitions), rows)


def _non_empty_reason(step: Transition) -> str:
    """Return the reason, or a placeholder; only DONE may have an empty one."""
    return step.reason.strip() or (
        "" if step.after == State.DONE else f"{step.after}: no reason given"
    )
