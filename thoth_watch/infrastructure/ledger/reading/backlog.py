"""Size of the backlog, and an estimate of how long it takes to transcribe."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import WAITING
from thoth_watch.infrastructure.ledger.database.tables import files, runs

RUNS_FOR_BACKLOG_SPEED = 20  # only recent runs: device and model may have changed before them


@dataclass(frozen=True, slots=True)
class Backlog:
    """Files waiting or in progress, their audio, and the recent speed."""

    files: int
    audio_s: float  # total of the files whose length is declared
    files_of_unknown_length: int
    realtime_factor: float | None  # seconds of audio per second, over the newest runs

    @property
    def finish_s(self) -> float | None:
        """Return the seconds of work left at that speed; None if speed or lengths are unknown."""
        if not self.realtime_factor or (self.files and self.files == self.files_of_unknown_length):
            return None
        return self.audio_s / self.realtime_factor


def read_backlog(connection: Connection) -> Backlog:
    """Return the current backlog."""
    left = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(files.c.duration_s), 0.0),
            func.count(files.c.duration_s),
        ).where(files.c.state.in_(sorted(WAITING)))
    ).one()
    speed = recent_speed(connection, n_runs=RUNS_FOR_BACKLOG_SPEED)
    return Backlog(left[0], float(left[1]), left[0] - left[2], speed)


def recent_speed(connection: Connection, *, n_runs: int) -> float | None:
    """Return seconds of audio per second over the newest runs, without model loading.

    None if there is no such run.
    """
    newest = (
        select(runs.c.audio_s, (runs.c.wall_s - runs.c.load_s).label("worked_s"))
        .where(runs.c.status.in_([RunStatus.DONE, RunStatus.PARTIAL]), runs.c.wall_s > 0)
        .order_by(runs.c.id.desc())
        .limit(n_runs)
        .subquery()
    )
    sums = select(func.sum(newest.c.audio_s), func.sum(newest.c.worked_s))
    audio_s, worked_s = connection.execute(sums).one()
    if not audio_s or not worked_s or worked_s <= 0:
        return None
    return float(audio_s) / float(worked_s)
