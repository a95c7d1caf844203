"""Batches are formed from waiting files according to the policy and the load."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import make_file
from thoth_watch.domain.batching import (
    IDLE,
    BatchPolicy,
    Load,
    Order,
    WaitingFile,
    form_batches,
    next_batch_due_s,
)
from thoth_watch.domain.file_options import FileOptions


def waiting(
    number: int,
    *,
    ready_at_s: float = 0.0,
    audio_s: float = 10.0,
    crashes: int = 0,
    deaths: int = 0,
    folder: str = ".",
    **file_options: object,
) -> WaitingFile:
    return WaitingFile(
        file_id=number,
        file=make_file(f"{folder}/{number}.wav"),
        file_options=FileOptions(**file_options),  # type: ignore[arg-type]
        ready_at_s=ready_at_s,
        audio_s=audio_s,
        crashes=crashes,
        deaths=deaths,
    )


def ids(batches: list) -> list[list[int]]:
    return [[item.file_id for item in batch.files] for batch in batches]


def test_a_full_batch_starts_immediately_and_the_rest_waits():
    policy = BatchPolicy(max_files=2, max_wait_s=60)

    batches = form_batches([waiting(n) for n in range(5)], policy, now_s=1.0)

    assert ids(batches) == [[0, 1], [2, 3]]


def test_a_partial_batch_starts_when_its_oldest_file_has_waited_long_enough():
    policy = BatchPolicy(max_files=10, max_wait_s=60)
    files = [waiting(1, ready_at_s=0), waiting(2, ready_at_s=50)]

    assert form_batches(files, policy, now_s=59.0) == []
    assert ids(form_batches(files, policy, now_s=60.0)) == [[1, 2]]


def test_seconds_of_audio_fill_a_batch_too():
    policy = BatchPolicy(max_files=10, max_audio_s=25, max_wait_s=60)

    batches = form_batches([waiting(n, audio_s=10) for n in range(5)], policy, now_s=1.0)

    assert ids(batches) == [[0, 1], [2, 3]]


def test_a_file_longer_than_the_limit_gets_a_batch_of_its_own():
    policy = BatchPolicy(max_audio_s=25, max_wait_s=60)

    batches = form_batches([waiting(1, audio_s=3600)], policy, now_s=0.0)

    assert ids(batches) == [[1]]


def test_languages_do_not_mix_if_the_policy_groups_by_language():
    files = [waiting(1, language="fr"), waiting(2, language="en"), waiting(3, language="fr")]

    batches = form_batches(files, BatchPolicy(group_by=("language",)), now_s=100.0)

    assert ids(batches) == [[1, 3], [2]]
    assert ids(form_batches(files, BatchPolicy(group_by=()), now_s=100.0)) == [[1, 2, 3]]


@pytest.mark.parametrize(
    "other",
    [{"model": "x"}, {"task": "translate"}, {"formats": ("srt",)}, {"output_dir": "/o"}],
)
def test_models_tasks_and_outputs_never_mix(other: dict[str, object]):
    files = [waiting(1), waiting(2, **other)]

    assert ids(form_batches(files, BatchPolicy(group_by=()), now_s=100.0)) == [[1], [2]]


def test_a_file_that_killed_a_worker_gets_a_batch_of_its_own():
    files = [waiting(1), waiting(2, crashes=1), waiting(3)]

    assert ids(form_batches(files, BatchPolicy(), now_s=100.0)) == [[1, 3], [2]]


@pytest.mark.parametrize("order", Order)
def test_a_file_claimed_at_a_second_death_of_the_program_goes_behind_the_others(order: Order):
    lengths = (1.0, 9.0, 5.0, 7.0)
    files = [
        waiting(n, ready_at_s=n, audio_s=s, deaths=3 - n, priority=3 - n)
        for n, s in enumerate(lengths)
    ]

    batches = form_batches(files, BatchPolicy(order=order), now_s=100.0)

    assert ids(batches)[2:] == [[1], [0]]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.OLDEST, [2, 1, 3]),
        (Order.SHORTEST, [3, 1, 2]),
        (Order.LONGEST, [2, 1, 3]),
        (Order.PRIORITY, [1, 2, 3]),
    ],
)
def test_the_order_decides_which_file_goes_first(order: Order, expected: list[int]):
    files = [
        waiting(1, ready_at_s=2, audio_s=5, priority=9),
        waiting(2, ready_at_s=1, audio_s=9, priority=0),
        waiting(3, ready_at_s=3, audio_s=1, priority=0),
    ]

    (batch,) = form_batches(files, BatchPolicy(order=order), now_s=100.0)

    assert [item.file_id for item in batch.files] == expected


def test_a_clock_set_back_does_not_strand_a_batch():
    policy = BatchPolicy(max_wait_s=60)

    assert ids(form_batches([waiting(1, ready_at_s=1_000)], policy, now_s=0.0)) == [[1]]


def test_the_next_batch_is_due_when_the_longest_waiting_file_is():
    policy = BatchPolicy(max_wait_s=10)

    assert next_batch_due_s([waiting(1, ready_at_s=7), waiting(2, ready_at_s=5)], policy) == 15
    assert next_batch_due_s([], policy) is None


def test_without_a_configured_wait_a_single_file_starts_immediately():
    lone = [waiting(1, ready_at_s=5)]

    assert ids(form_batches(lone, BatchPolicy(), now_s=5.0)) == [[1]]
    assert next_batch_due_s(lone, BatchPolicy()) == 5


def test_without_a_configured_wait_a_file_waits_a_second_for_files_that_settle():
    first, load = [waiting(1, ready_at_s=5)], Load(expects_more=True)

    assert form_batches(first, BatchPolicy(), now_s=5.9, load=load) == []
    assert ids(form_batches(first, BatchPolicy(), now_s=6.0, load=load)) == [[1]]
    assert next_batch_due_s(first, BatchPolicy(), load=load) == 6


def test_a_configured_wait_applies_under_any_load():
    policy, lone = BatchPolicy(max_wait_s=60), [waiting(1)]

    for load in (IDLE, Load(realtime_factor=1e6, engines=8)):
        assert form_batches(lone, policy, now_s=59.0, load=load) == []


@pytest.mark.parametrize(
    ("realtime_factor", "n_first"),
    [(None, 30), (0.1, 6), (10.0, 30), (100.0, 200)],  # 300 s, 60 s, 300 s, all 2000 s
)
def test_a_batch_holds_about_30_s_of_processing_at_the_recent_speed(realtime_factor, n_first: int):
    backlog = [waiting(n, audio_s=10) for n in range(200)]
    load = Load(realtime_factor=realtime_factor)

    assert len(form_batches(backlog, BatchPolicy(), now_s=1.0, load=load)[0].files) == n_first


def test_a_configured_batch_size_applies_at_any_speed():
    backlog = [waiting(n, audio_s=10) for n in range(200)]
    load = Load(realtime_factor=1e6)

    for policy in (BatchPolicy(max_files=16), BatchPolicy(max_audio_s=160)):
        assert len(form_batches(backlog, policy, now_s=1.0, load=load)[0].files) == 16


def test_files_that_declare_no_length_fill_a_batch_too():
    backlog = [waiting(n, audio_s=0) for n in range(200)]

    assert len(form_batches(backlog, BatchPolicy(), now_s=1.0)[0].files) == 10


def test_several_engines_share_the_backlog_in_ever_smaller_batches():
    backlog, sizes = [waiting(n, audio_s=10) for n in range(64)], []
    while backlog:
        load = Load(realtime_factor=100.0, engines=4, backlog_s=10.0 * len(backlog))
        first = form_batches(backlog, BatchPolicy(), now_s=1.0, load=load)[0]
        sizes.append(len(first.files))
        backlog = backlog[len(first.files) :]

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 8
    assert sizes[-4:-1] == [3, 3, 3]  # at least 30 s, except for the last batch


@given(
    lengths=st.lists(st.floats(min_value=0.1, max_value=4000), max_size=40),
    max_files=st.integers(1, 8),
    max_audio_s=st.floats(1, 3600),
)
def test_every_file_is_in_exactly_one_batch_and_no_batch_exceeds_the_limits(
    lengths: list[float], max_files: int, max_audio_s: float
):
    policy = BatchPolicy(max_files=max_files, max_audio_s=max_audio_s)
    files = [waiting(n, audio_s=length) for n, length in enumerate(lengths)]

    batches = form_batches(files, policy, now_s=0.0, drain=True)

    assert sorted(n for batch in ids(batches) for n in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch.files) <= max_files
        assert len(batch.files) == 1 or batch.audio_s <= max_audio_s + 1e-6


def test_rules_match_the_path_below_the_inbox():
    assert make_file("fr/a.wav").relative == Path("fr/a.wav")
