"""Events of the ledger in order: state transitions of files and ends of runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from thoth_watch.infrastructure.ledger.database.tables import files, runs, transitions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventCursor:
    """Position up to which events were read."""

    transition_id: int
    run_finished_at: datetime


def read_events(
    connection: Connection, after: EventCursor | None, *, limit: int
) -> tuple[list[dict[str, Any]], EventCursor]:
    """Return the events after the cursor, or the newest ones, oldest first, and the new cursor."""
    changes = (
        select(
            transitions.c.id,
            transitions.c.at,
            files.c.path,
            transitions.c.before,
            transitions.c.after,
            transitions.c.reason,
        )
        .join(files, files.c.id == transitions.c.file_id)
        .limit(limit)
    )
    ends = select(
        *(
            runs.c[name]
            for name in ("id", "finished_at", "status", "engine", "device", "precision")
        ),
        *(runs.c[name] for name in ("files_ok", "files_failed", "audio_s", "wall_s", "error")),
    ).limit(limit)
    if after is None:
        changes = changes.order_by(transitions.c.id.desc())
        ends = ends.where(runs.c.finished_at.is_not(None)).order_by(runs.c.finished_at.desc())
    else:
        changes = changes.where(transitions.c.id > after.transition_id).order_by(transitions.c.id)
        ends = ends.where(runs.c.finished_at > after.run_finished_at).order_by(runs.c.finished_at)
    file_events = [{"event": "file", **row} for row in connection.execute(changes).mappings()]
    run_events = [
        {"event": "run", "at": row["finished_at"], **row}
        for row in connection.execute(ends).mappings()
    ]
    last_id = max((row["id"] for row in file_events), default=after.transition_id if after else 0)
    last_end = max(
        (row["at"] for row in run_events), default=after.run_finished_at if after else EPOCH
    )
    events = sorted(file_events + run_events, key=lambda row: (row["at"], row["event"]))
    selected = events if after is not None else events[-limit:]
    return [_without_transition_id(row) for row in selected], EventCursor(last_id, last_end)


def _without_transition_id(row: dict[str, Any]) -> dict[str, Any]:
    """Return the event without the ID of its transition."""
    if row["event"] == "run":
        return {("run_id" if key == "id" else key): value for key, value in row.items()}
    return {key: value for key, value in row.items() if key != "id"}
