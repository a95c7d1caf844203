"""Formatting of numbers, durations and times for readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def format_number(value: float) -> str:
    """Format a number with the digits that matter: 0.42, 7.3, 51, 1,204."""
    if value == 0:
        return "0"
    if abs(value) < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 10 else f"{value:,.0f}"


def format_duration(seconds: float) -> str:
    """Format a duration in days, hours, minutes or seconds, whichever fits best."""
    for size_s, unit in ((86_400 * 3, "days"), (5400, "hours"), (90, "minutes")):
        if seconds >= size_s:
            divisor = {"days": 86_400, "hours": 3600, "minutes": 60}[unit]
            return f"{format_number(seconds / divisor)} {unit}"
    return f"{format_number(seconds)} seconds"


def format_count(n: int, noun: str) -> str:
    """Format a count with its noun: `1 file`, `1,204 files`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def format_time(at: datetime) -> str:
    """Format a time in UTC, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def format_bucket_width(width: timedelta) -> str:
    """Format the time span of one bar: `1 day`, `6 hours`, `2 weeks`."""
    minutes = width // timedelta(minutes=1)
    sizes = ((365 * 1440, "year"), (7 * 1440, "week"), (1440, "day"), (60, "hour"), (1, "minute"))
    size, unit = next((size, unit) for size, unit in sizes if minutes % size == 0)
    return format_count(minutes // size, unit)
