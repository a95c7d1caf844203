"""Times and durations in the forms that users write and read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS_S = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class TimeParam(click.ParamType[datetime]):
    """A time in the past: `7d`, `12h` or `30min` ago, or a date with or without a time of day."""

    name = "when"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return an aware time; a value without a zone is in this machine's time zone."""
        if isinstance(value, datetime):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|m|h|d|w)", value.strip())
        try:
            if match:
                return datetime.now(UTC) - timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time; use 7d, 12h, 30min, 2026-11-23 or 2026-11-23T18:00",
                param,
                ctx,
            )


def format_media_time(seconds: float | None) -> str:
    """Return a media time such as 0:07, 12:30 or 1:02:03."""
    if seconds is None:
        return "-"
    total = int(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_duration(seconds: float) -> str:
    """Return a duration in one unit: 40 s, 3 min, 2.5 h, 4 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 129_600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"


def format_age(moment: datetime) -> str:
    """Return how long ago a time was; for a future time (a clock was wrong), how long until then."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{format_duration(seconds)} ago" if seconds >= 0 else f"in {format_duration(-seconds)}"


def format_time(moment: datetime | None) -> str:
    """Return a time in this machine's time zone, to the second; "-" for None."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "-"
