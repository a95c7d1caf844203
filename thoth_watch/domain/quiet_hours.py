"""Hours of the day in which no work is begun, as a person's clock shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class QuietSpan:
    """Minutes after midnight; one that ends before it begins goes over midnight."""

    begins_min: int
    ends_min: int


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Spans of every day; none by default."""

    spans: tuple[QuietSpan, ...] = ()

    def until(self, local: datetime) -> datetime | None:
        """When the quiet that holds at that time ends; None if work may be begun.

        local: aware, in the zone of the person's clock.
        """
        now_min = local.hour * 60 + local.minute
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        for span in self.spans:
            goes_over_midnight = span.ends_min <= span.begins_min
            if now_min >= span.begins_min and (goes_over_midnight or now_min < span.ends_min):
                ends_min = span.ends_min + (DAY_MIN if goes_over_midnight else 0)
            elif goes_over_midnight and now_min < span.ends_min:
                ends_min = span.ends_min
            else:
                continue
            return midnight + timedelta(minutes=ends_min)
        return None


def parse_span(text: str) -> QuietSpan:
    """`22:00-07:00` as a span. Raises ValueError for anything else, and for one without a minute."""
    found = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*", text)
    if found is None:
        raise ValueError(f"{text!r} is no span of hours such as 22:00-07:00")
    hours_and_minutes = [int(number) for number in found.groups()]
    begins_min, ends_min = (h * 60 + m for h, m in zip(*[iter(hours_and_minutes)] * 2, strict=True))
    is_right = all(m < 60 for m in hours_and_minutes[1::2]) and begins_min < DAY_MIN
    if not is_right or ends_min > DAY_MIN or begins_min == ends_min % DAY_MIN:
        raise ValueError(f"{text!r} is no span of hours such as 22:00-07:00")
    return QuietSpan(begins_min, ends_min % DAY_MIN)
