"""The numbers of a report, compared with plain SQL on the same ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.filled_ledger import END, fill_ledger
from thoth_watch.domain.history import MAX_BUCKETS, History, bucket_width
from thoth_watch.infrastructure.ledger.reading import LedgerReader


def read(path: Path, **arguments: object) -> History:
    with LedgerReader.open(f"sqlite:///{path}") as reader:
        return reader.history(**{"since": None, "now": END} | arguments)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", n_runs=200)


def query_row(path: Path, sql: str) -> tuple[object, ...]:
    with closing(sqlite3.connect(path)) as connection:
        return tuple(connection.execute(sql).fetchone())


def test_sums_equal_those_of_the_table(path: Path):
    history = read(path)

    runs, ok, failed, audio_s, wall_s, generate_s = query_row(
        path,
        "SELECT count(*), sum(files_ok), sum(files_failed), sum(audio_s), sum(wall_s),"
        " sum(generate_s) FROM runs",
    )
    assert (history.runs, history.files_ok, history.files_failed) == (runs, ok, failed)
    assert history.audio_s == pytest.approx(audio_s)
    assert history.realtime_factor == pytest.approx(audio_s / wall_s)
    assert history.stages["generate"] == pytest.approx(generate_s)
    assert sum(bucket.runs for bucket in history.buckets) == runs
    assert sum(bucket.audio_s for bucket in history.buckets) == pytest.approx(audio_s)
    assert sum(stats.runs for stats in history.engines) == runs
    assert sum(a for bucket in history.buckets for a, _ in bucket.by_engine.values()) == (
        pytest.approx(audio_s)
    )


def test_a_run_is_counted_in_the_bucket_in_which_it_started(path: Path):
    history = read(path)

    for bucket in history.buckets:
        until = bucket.start + history.width
        (runs,) = query_row(
            path,
            "SELECT count(*) FROM runs WHERE started_at >="
            f" '{bucket.start:%Y-%m-%d %H:%M:%S}' AND started_at < '{until:%Y-%m-%d %H:%M:%S}'",
        )
        assert bucket.runs == runs


def test_engines_are_sorted_by_their_amount_of_audio(path: Path):
    history = read(path)

    fastest = max(history.engines, key=lambda stats: stats.realtime_factor)
    assert (fastest.engine, fastest.device, fastest.precision) == ("batch", "cuda:0", "float16")
    assert len(history.engines) == 3
    assert [stats.audio_s for stats in history.engines] == sorted(
        (stats.audio_s for stats in history.engines), reverse=True
    )


def test_fallbacks_and_failures_are_counted_by_kind(path: Path):
    history = read(path)

    (fallback,) = history.fallbacks
    assert (fallback.runs, fallback.reason) == (200 // 17, "cuda: no device")
    assert sum(stats.files for stats in history.failures) == 200 // 13
    assert "the disk is full; free some space" in {stats.kind for stats in history.failures}


def test_the_slowest_files_are_those_with_the_longest_run_times(path: Path):
    slowest = read(path).slowest

    (longest_s,) = query_row(path, "SELECT max(wall_s) FROM runs WHERE files_failed < 4")
    assert slowest[0].took_s == pytest.approx(longest_s, abs=0.01)
    assert len(slowest) == 10
    assert [file.took_s for file in slowest] == sorted((f.took_s for f in slowest), reverse=True)


def test_the_backlog_counts_files_that_had_arrived_and_were_not_finished(path: Path):
    history = read(path, now=END + timedelta(hours=5))

    assert history.waiting_files == history.buckets[-1].backlog_files
    assert (
        history.waiting_files
        == query_row(path, "SELECT count(*) FROM files WHERE state IN ('READY', 'RETRY')")[0]
    )


def test_only_runs_of_the_requested_period_are_counted(path: Path):
    since = END - timedelta(hours=2)
    history = read(path, since=since)

    assert history.runs == 12
    assert history.first == since
    assert len(history.failures) <= 1


def test_an_empty_ledger_has_an_empty_history(tmp_path: Path):
    history = read(fill_ledger(tmp_path / "ledger.db", n_runs=0))

    assert (history.runs, history.buckets, history.engines) == (0, [], [])
    assert history.realtime_factor == 0


@pytest.mark.parametrize("span", [timedelta(0), timedelta(hours=1), timedelta(days=3650)])
def test_no_period_has_too_many_buckets(span: timedelta):
    assert span / bucket_width(span) <= MAX_BUCKETS
