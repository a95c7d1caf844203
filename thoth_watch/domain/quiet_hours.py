"""Quiet hours: times of day, in local time, in which no new work starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class QuietSpan:
    """A span in minutes after midnight; one that ends before it begins crosses midnight."""

    begins_min: int
    ends_min: int


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Spans that apply every day; none by default."""

    spans: tuple[QuietSpan, ...] = ()

    def until(self, local: datetime) -> datetime | None:
        """Return when the current quiet hours end; None if work may start.

        local: the current time, aware, in the local time zone.
        """
        now_min = local.hour * 60 + local.minute
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        for span in self.spans:
            crosses_midnight = span.ends_min <= span.begins_min
            if now_min >= span.begins_min and (crosses_midnight or now_min < span.ends_min):
                ends_min = span.ends_min + (DAY_MIN if crosses_midnight else 0)
            elif crosses_midnight and now_min < span.ends_min:
                ends_min = span.ends_min
            else:
                continue
            return midnight + timedelta(minutes=ends_min)
        return None


def parse_span(text: str) -> QuietSpan:
    """Parse a span such as `22:00-07:00`. Raises ValueError if it is invalid or empty."""
    match = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not a span of hours such as 22:00-07:00")
    hours_and_minutes = [int(number) for number in match.groups()]
    begins_min, ends_min = (h * 60 + m for h, m in zip(*[iter(hours_and_minutes)] * 2, strict=True))
    is_valid = all(m < 60 for m in hours_and_minutes[1::2]) and begins_min < DAY_MIN
    if not is_valid or ends_min > DAY_MIN or begins_min == ends_min % DAY_MIN:
        raise ValueError(f"{text!r} is not a span of hours such as 22:00-07:00")
    return QuietSpan(begins_min, ends_min % DAY_MIN)
