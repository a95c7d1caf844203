"""Read the current numbers for metrics."""

from __future__ import annotations

from sqlalchemy import Connection, Text, cast, func, select

from thoth_watch.domain.history import STAGES
from thoth_watch.domain.ledger_stats import LedgerStats, RunTotals
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger.reading.backlog import read_backlog
from thoth_watch.infrastructure.ledger.database.tables import files, runs

KIND = ("engine", "device", "precision")
SUMS = ("files_ok", "files_failed", "audio_s", "wall_s")


def read_ledger_stats(connection: Connection, *, is_working: bool) -> LedgerStats:
    """Return the current numbers, read in the connection's transaction."""
    counts = select(files.c.state, func.count().label("n")).group_by(files.c.state)
    states = {row.state: row.n for row in connection.execute(counts)}
    kind = [func.coalesce(runs.c[name], "-").label(name) for name in KIND]
    sums = [func.coalesce(func.sum(runs.c[name]), 0).label(name) for name in SUMS]
    rows = connection.execute(
        select(*kind, runs.c.status, func.count().label("runs"), *sums).group_by(
            *(runs.c[name] for name in KIND), runs.c.status
        )
    ).mappings()
    stages = connection.execute(
        select(*(func.coalesce(func.sum(runs.c[f"{stage}_s"]), 0.0) for stage in STAGES))
    ).one()
    backlog = read_backlog(connection)
    return LedgerStats(
        files={str(state): states.get(state, 0) for state in State},
        runs=tuple(RunTotals(**row) for row in rows),
        stage_s=dict(zip(STAGES, map(float, stages), strict=True)),
        fallback_runs=connection.scalar(
            select(func.count()).where(cast(runs.c.fallbacks, Text) != "[]")
        )
        or 0,
        backlog_files=backlog.files,
        backlog_audio_s=backlog.audio_s,
        last_run_at=connection.scalar(select(func.max(runs.c.started_at))),
        is_working=is_working,
    )
