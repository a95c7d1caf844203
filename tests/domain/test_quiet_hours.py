"""Quiet hours, in which no new work starts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from thoth_watch.domain.quiet_hours import QuietHours, parse_span


def at(clock: str, day: int = 10) -> datetime:
    hour, minute = map(int, clock.split(":"))
    return datetime(2026, 3, day, hour, minute, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("clock", "until"),
    [("07:59", None), ("08:00", "18:00"), ("17:59", "18:00"), ("18:00", None)],
)
def test_quiet_hours_include_their_first_minute_and_exclude_their_last(
    clock: str, until: str | None
):
    hours = QuietHours((parse_span("08:00-18:00"),))

    ends = hours.until(at(clock))

    assert (ends and f"{ends:%d %H:%M:%S}") == (until and f"10 {until}:00")


@pytest.mark.parametrize(
    ("clock", "until"),
    [("21:59", None), ("22:00", "11 07:00"), ("06:59", "10 07:00"), ("07:00", None)],
)
def test_quiet_hours_may_cross_midnight(clock: str, until: str | None):
    hours = QuietHours((parse_span("22:00-7:00"),))

    ends = hours.until(at(clock))

    assert (ends and f"{ends:%d %H:%M}") == until


def test_quiet_hours_until_midnight_end_on_the_next_day():
    ends = QuietHours((parse_span("12:00-24:00"),)).until(at("23:59"))

    assert ends == datetime(2026, 3, 11, tzinfo=UTC)


def test_there_may_be_several_spans_or_none():
    hours = QuietHours((parse_span("08:00-09:00"), parse_span("20:00-21:00")))

    assert [hours.until(at(clock)) is not None for clock in ("08:30", "12:00", "20:30")] == [
        True,
        False,
        True,
    ]
    assert QuietHours().until(at("03:00")) is None


@pytest.mark.parametrize(
    "text",
    ["", "22-7", "22:00", "25:00-07:00", "22:00-07:60", "24:00-07:00", "0:00-24:00", "8:00-8:00"],
)
def test_an_invalid_span_is_refused_with_its_text(text: str):
    with pytest.raises(ValueError, match="is not a span of hours such as 22:00-07:00"):
        parse_span(text)
