"""Read statistics of the ledger: the backlog, the current numbers, and a period of its history."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    RowMapping,
    Text,
    cast,
    extract,
    func,
    select,
)

from thoth_watch.domain.history import (
    STAGES,
    Bucket,
    EngineStats,
    FailureStats,
    FallbackStats,
    History,
    SlowFile,
    bucket_width,
)
from thoth_watch.domain.ledger_stats import LedgerStats, RunTotals
from thoth_watch.domain.reasons import normalize_reason
from thoth_watch.domain.states import NEEDS_ATTENTION, WAITING, State
from thoth_watch.infrastructure.ledger.database.tables import files, runs, transitions
from thoth_watch.infrastructure.ledger.runs import recent_speed

MAX_SLOW_FILES = 10
DAY_S = 86_400.0
JULIAN_ERROR_S = 0.0005  # julianday() resolves about 40 microseconds
EPOCH_JULIAN_DAY = 2_440_587.5  # 1970-01-01 00:00 UTC
RUNS_FOR_BACKLOG_SPEED = 20  # only recent runs: device and model may have changed before them
KIND = ("engine", "device", "precision")
SUMS = ("files_ok", "files_failed", "audio_s", "wall_s")


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


def read_history(connection: Connection, *, since: datetime | None, now: datetime) -> History:
    """Return the history since that time, or the whole history."""
    history = History(made_at=now, since=since)
    _count_runs(connection, history)
    _count_fallbacks(connection, history)
    _count_failures(connection, history)
    _find_slowest(connection, history)
    _count_backlog(connection, history)
    backlog = read_backlog(connection)
    history.waiting_files, history.waiting_audio_s = backlog.files, backlog.audio_s
    history.finish_s = backlog.finish_s
    return history


def _count_runs(connection: Connection, history: History) -> None:
    """Sum up runs by time and by engine, in the database: there may be millions of them."""
    ends = select(func.min(runs.c.started_at), func.max(runs.c.started_at))
    history.first, history.last = connection.execute(
        _started_since(ends, runs.c.started_at, history)
    ).one()
    if history.first is None or history.last is None:
        return
    end = max(history.last, history.made_at)  # shows also that nothing ran recently
    history.width = bucket_width(end - history.first)
    history.buckets = _empty_buckets(history.first, end, history.width)
    start_s, width_s = history.buckets[0].start.timestamp(), history.width.total_seconds()
    elapsed_s = _epoch_seconds(connection, runs.c.started_at) - start_s + JULIAN_ERROR_S
    index = func.floor(elapsed_s / width_s)
    kind = [runs.c[name] for name in ("engine", "device", "device_name", "precision", "model")]
    sums = ("files_ok", "files_failed", "audio_s", "wall_s", *(f"{stage}_s" for stage in STAGES))
    query = select(
        index.label("bucket"),
        *kind,
        func.count().label("runs"),
        *(func.coalesce(func.sum(runs.c[name]), 0).label(name) for name in sums),
        *(
            func.coalesce(func.max(runs.c[name]), 0).label(name)
            for name in ("peak_rss_bytes", "peak_gpu_bytes")
        ),
    ).group_by(index, *kind)
    engines: dict[tuple[Any, ...], EngineStats] = {}
    for row in connection.execute(_started_since(query, runs.c.started_at, history)).mappings():
        bucket = history.buckets[min(int(row["bucket"]), len(history.buckets) - 1)]
        _add(bucket, row)
        _add(history, row)
        for stage in STAGES:
            history.stages[stage] += float(row[f"{stage}_s"])
        if row["engine"] is None:
            continue  # the engine was unavailable
        engine, device, device_name, precision, model = (str(row[c.name] or "-") for c in kind)
        stats = engines.setdefault(
            (engine, device, device_name, precision, model),
            EngineStats(engine, device, device_name, precision, model),
        )
        stats.runs += row["runs"]
        stats.files_ok += row["files_ok"]
        stats.audio_s += row["audio_s"]
        stats.wall_s += row["wall_s"]
        stats.peak_rss_bytes = max(stats.peak_rss_bytes, row["peak_rss_bytes"])
        stats.peak_gpu_bytes = max(stats.peak_gpu_bytes, row["peak_gpu_bytes"])
        audio_s, wall_s = bucket.by_engine.get(stats.name, (0.0, 0.0))
        bucket.by_engine[stats.name] = (audio_s + row["audio_s"], wall_s + row["wall_s"])
    history.engines = sorted(engines.values(), key=lambda stats: -stats.audio_s)


def _add(total: Bucket | History, row: RowMapping) -> None:
    total.runs += row["runs"]
    total.files_ok += row["files_ok"]
    total.files_failed += row["files_failed"]
    total.audio_s += row["audio_s"]
    total.wall_s += row["wall_s"]


def _empty_buckets(first: datetime, last: datetime, width: timedelta) -> list[Bucket]:
    """Return buckets that start at round times and cover both ends."""
    width_s = width.total_seconds()
    start_s = first.timestamp() // width_s * width_s
    count = int((last.timestamp() - start_s) // width_s) + 1
    return [Bucket(datetime.fromtimestamp(start_s + n * width_s, tz=UTC)) for n in range(count)]


def _count_fallbacks(connection: Connection, history: History) -> None:
    column = cast(runs.c.fallbacks, Text)
    query = select(column, func.count()).where(column != "[]").group_by(column)
    counts: Counter[tuple[str, str, str]] = Counter()
    for text, n_runs in connection.execute(_started_since(query, runs.c.started_at, history)):
        for fallback in {(f["asked"], f["got"], f["why"]) for f in json.loads(text)}:
            counts[fallback] += n_runs
    history.fallbacks = [FallbackStats(*key, runs=n) for key, n in counts.most_common()]


def _count_failures(connection: Connection, history: History) -> None:
    """Group by reason the files that have no transcript now and changed state in the period."""
    states = [*sorted(NEEDS_ATTENTION), State.RETRY, State.REFUSED]
    query = select(files.c.state, files.c.reason, files.c.path).where(files.c.state.in_(states))
    groups: dict[tuple[str, str], list[str]] = {}
    for state, reason, path in connection.execute(
        _started_since(query, files.c.updated_at, history)
    ):
        groups.setdefault((state, normalize_reason(reason)), []).append(path)
    stats = [
        FailureStats(state, kind, len(paths), min(paths)) for (state, kind), paths in groups.items()
    ]
    history.failures = sorted(stats, key=lambda f: (-f.files, f.kind))


def _find_slowest(connection: Connection, history: History) -> None:
    """Find the files that took longest from claim to result, by their transitions."""
    claimed, ended = transitions.alias("claimed"), transitions.alias("ended")
    took_s = _epoch_seconds(connection, ended.c.at) - _epoch_seconds(connection, claimed.c.at)
    query = (
        select(files.c.path, took_s.label("took_s"), files.c.duration_s, files.c.run_id)
        .join(claimed, claimed.c.file_id == files.c.id)
        .join(
            ended,
            (ended.c.file_id == claimed.c.file_id) & (ended.c.claim_no == claimed.c.claim_no),
        )
        .where(claimed.c.after == State.CLAIMED, ended.c.after == State.RESULT)
        .order_by(took_s.desc())
        .limit(MAX_SLOW_FILES)
    )
    history.slowest = [
        SlowFile(row.path, float(row.took_s), row.duration_s, row.run_id)
        for row in connection.execute(_started_since(query, claimed.c.at, history))
    ]


def _epoch_seconds(connection: Connection, moment: ColumnElement[Any]) -> ColumnElement[float]:
    if connection.dialect.name == "sqlite":
        return (func.julianday(moment, type_=Float) - EPOCH_JULIAN_DAY) * DAY_S
    return cast(extract("epoch", moment), Float)


def _count_backlog(connection: Connection, history: History) -> None:
    """Count the files waiting at the end of each bucket, by when each appeared and when it was done."""
    if not history.buckets:
        return
    ends = [bucket.start + history.width for bucket in history.buckets]
    change = [0] * (len(ends) + 1)
    query = select(files.c.first_seen_at, files.c.state, files.c.done_at, files.c.updated_at)
    for row in connection.execute(query.where(files.c.state != State.REFUSED)):
        change[bisect_right(ends, row.first_seen_at)] += 1
        if row.state not in WAITING:
            change[bisect_right(ends, row.done_at or row.updated_at)] -= 1
    for bucket, waiting in zip(history.buckets, accumulate(change), strict=False):
        bucket.backlog_files = max(0, waiting)


def _started_since(query: Any, column: ColumnElement[Any], history: History) -> Any:
    return query if history.since is None else query.where(column >= history.since)
