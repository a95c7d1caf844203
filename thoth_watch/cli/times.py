"""Times as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS_S = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class TimeParam(click.ParamType[datetime]):
    """`7d`, `12h`, `30min` (so long ago), or a date with or without a time of day."""

    name = "when"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """An aware time; a date or time without zone is this machine's."""
        if isinstance(value, datetime):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|m|h|d|w)", value.strip())
        try:
            if match:
                return datetime.now(UTC) - timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r}: write 7d, 12h, 30min, 2026-11-23 or 2026-11-23T18:00", param, ctx
            )


def format_media_time(seconds: float | None) -> str:
    """Media time: 0:07, 12:30, 1:02:03."""
    if seconds is None:
        return "-"
    total = int(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_duration(seconds: float) -> str:
    """A span in one unit: 40 s, 3 min, 2.5 h, 4 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 129_600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} days"


def format_age(moment: datetime) -> str:
    """How long ago that was; of the future, how long until then (a clock was wrong)."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{format_duration(seconds)} ago" if seconds >= 0 else f"in {format_duration(-seconds)}"


def format_time(moment: datetime | None) -> str:
    """A time on this machine's clock, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "-"
