"""What happened, in order: every move of a file and every end of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from thoth_watch.infrastructure.ledger.tables import files, runs, transitions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventCursor:
    """Up to where events were read."""

    transition_id: int
    run_finished_at: datetime


def read_events(
    connection: Connection, after: EventCursor | None, *, limit: int
) -> tuple[list[dict[str, Any]], EventCursor]:
    """Events since the cursor, or the newest ones; oldest first."""
    moves = (
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
        moves = moves.order_by(transitions.c.id.desc())
        ends = ends.where(runs.c.finished_at.is_not(None)).order_by(runs.c.finished_at.desc())
    else:
        moves = moves.where(transitions.c.id > after.transition_id).order_by(transitions.c.id)
        ends = ends.where(runs.c.finished_at > after.run_finished_at).order_by(runs.c.finished_at)
    found = [{"event": "file", **row} for row in connection.execute(moves).mappings()]
    finished = [
        {"event": "run", "at": row["finished_at"], **row}
        for row in connection.execute(ends).mappings()
    ]
    last_id = max((row["id"] for row in found), default=after.transition_id if after else 0)
    last_end = max(
        (row["at"] for row in finished), default=after.run_finished_at if after else EPOCH
    )
    everything = sorted(found + finished, key=lambda row: (row["at"], row["event"]))
    shown = everything if after is not None else everything[-limit:]
    return [_without_transition_id(row) for row in shown], EventCursor(last_id, last_end)


def _without_transition_id(row: dict[str, Any]) -> dict[str, Any]:
    """The event without the ledger's own numbers of transitions."""
    if row["event"] == "run":
        return {("run_id" if key == "id" else key): value for key, value in row.items()}
    return {key: value for key, value in row.items() if key != "id"}
