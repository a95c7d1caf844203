"""The state machine of files, and the retry rules."""

from __future__ import annotations

import pytest

from thoth_watch.domain.states import (
    CRASH_LIMIT,
    LEGAL_TRANSITIONS,
    UNKNOWN_ATTEMPTS,
    Cause,
    NextStep,
    State,
    after_failure,
    is_legal_transition,
)


def test_every_state_can_be_left_and_reached():
    reachable = {after for states in LEGAL_TRANSITIONS.values() for after in states}

    assert set(LEGAL_TRANSITIONS) == set(State)
    assert reachable == set(State)
    assert all(LEGAL_TRANSITIONS.values())


@pytest.mark.parametrize("state", [s for s in State if s not in (State.RESULT, State.CONFLICT)])
def test_only_a_durable_result_becomes_done(state: State):
    assert is_legal_transition(state, State.DONE) == (state is State.DONE)


def test_a_file_is_never_claimed_unless_it_is_ready():
    before = [state for state in State if State.CLAIMED in LEGAL_TRANSITIONS[state]]

    assert before == [State.READY]


def test_bad_content_is_retried_once_and_then_fails():
    assert after_failure(Cause.CONTENT, attempts=1) == NextStep(State.RETRY, 60.0)
    assert after_failure(Cause.CONTENT, attempts=2) == NextStep(State.FAILED)


def test_a_crash_is_retried_immediately_and_then_quarantined():
    assert after_failure(Cause.CRASH, attempts=1, crashes=1) == NextStep(State.RETRY)
    step = after_failure(Cause.CRASH, attempts=2, crashes=CRASH_LIMIT)
    assert step == NextStep(State.QUARANTINED)


@pytest.mark.parametrize("setbacks", [1, 5, 100, 10_000])
def test_environment_failures_never_fail_a_file_permanently(setbacks: int):
    step = after_failure(Cause.ENVIRONMENT, attempts=1, setbacks=setbacks)

    assert step.state is State.RETRY
    assert 5.0 < step.wait_s <= 300.0


def test_an_unknown_failure_is_attempted_five_times_with_growing_waits():
    steps = [after_failure(Cause.UNKNOWN, attempts=n) for n in range(1, UNKNOWN_ATTEMPTS + 1)]
    waits = [step.wait_s for step in steps[:-1]]

    assert [step.state for step in steps[:-1]] == [State.RETRY] * (UNKNOWN_ATTEMPTS - 1)
    assert waits == sorted(waits)
    assert steps[-1].state is State.FAILED


def test_every_failure_leads_to_a_legal_transition():
    for cause in Cause:
        for attempts in range(1, 7):
            step = after_failure(cause, attempts=attempts, crashes=attempts, setbacks=attempts)
            assert is_legal_transition(State.CLAIMED, step.state)
