"""What is still to be transcribed, and how long that may take."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from thoth_watch.domain.run import RunStatus
from thoth_watch.domain.states import WAITING
from thoth_watch.infrastructure.ledger.tables import files, runs

RUNS_FOR_BACKLOG_SPEED = 20  # speed is that of the newest runs: device and model may have changed


@dataclass(frozen=True, slots=True)
class Backlog:
    """Files that wait or are under way, their sound, and the speed of late."""

    files: int
    audio_s: float  # of the files that declare a length
    files_of_unknown_length: int
    realtime_factor: float | None  # seconds of audio per second, over the newest runs

    @property
    def finish_s(self) -> float | None:
        """Seconds of work left at that speed; None where nothing is known of speed or lengths."""
        if not self.realtime_factor or (self.files and self.files == self.files_of_unknown_length):
            return None
        return self.audio_s / self.realtime_factor


def read_backlog(connection: Connection) -> Backlog:
    """The backlog now."""
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
    """Seconds of audio per second of the newest runs, loading left out; None where nothing is known."""
    told = (
        select(runs.c.audio_s, (runs.c.wall_s - runs.c.load_s).label("worked_s"))
        .where(runs.c.status.in_([RunStatus.DONE, RunStatus.PARTIAL]), runs.c.wall_s > 0)
        .order_by(runs.c.id.desc())
        .limit(n_runs)
        .subquery()
    )
    heard = connection.execute(select(func.sum(told.c.audio_s), func.sum(told.c.worked_s))).one()
    if not heard[0] or not heard[1] or heard[1] <= 0:
        return None
    return float(heard[0]) / float(heard[1])
