"""The one way a file changes its state: legal, fenced by the claim number, and logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, update

from thoth_watch.domain.errors import RetryLater
from thoth_watch.domain.states import State, is_legal_transition
from thoth_watch.infrastructure.ledger.tables import files, publications, transitions

T = TypeVar("T")
CHUNK_SIZE = 500  # values in one IN list
STATES_WITHOUT_TRANSCRIPT = frozenset(
    {State.GONE, State.REFUSED, State.FAILED, State.QUARANTINED}
)  # get no transcript


@dataclass(frozen=True, slots=True)
class Transition:
    """One file from one state to the next (or a new reason where it stands)."""

    file_id: int
    claim_no: int  # the number it must still have
    before: State
    after: State
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)  # further columns of `files`


def apply_transition(connection: Connection, step: Transition, *, now: datetime) -> bool:
    """Make one move; False if the file is no longer in that state or under that claim number.

    Raises ValueError for a move that the state machine does not know.
    """
    return _apply(connection, [step], now=now)


def apply_transitions(
    connection: Connection, steps: Sequence[Transition], *, now: datetime
) -> None:
    """Make many moves, all or none (TryLater). The caller has read the rows in the same transaction."""
    if steps and not _apply(connection, steps, now=now):
        raise RetryLater("the ledger was changed by someone else meanwhile; try again")


def _apply(connection: Connection, steps: Sequence[Transition], *, now: datetime) -> bool:
    groups: dict[tuple[str, ...], list[Transition]] = {}
    for step in steps:
        if not is_legal_transition(step.before, step.after):
            raise ValueError(f"file {step.file_id}: {step.before} to {step.after} is no legal move")
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
    """Give up the output names that these files only reserved."""
    for some in chunks(list(file_ids)):
        connection.execute(
            delete(publications).where(
                publications.c.file_id.in_(some), publications.c.sha256.is_(None)
            )
        )


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """The values in lists short enough for one statement."""
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
    """Never empty but for DONE: a table without reasons would be no use to a person."""
    return step.reason.strip() or (
        "" if step.after == State.DONE else f"{step.after}: no reason given"
    )
