"""Log formats: text for terminals, text without time under systemd, JSON for log collectors."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}


def _extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}


class LineFormatter(logging.Formatter):
    """Formats `message: key=value key=value`, one line per event; file names are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        fields = " ".join(
            f"{key}={value!r}"
            if isinstance(value, str) and not value.isidentifier()
            else f"{key}={value}"
            for key, value in _extra_fields(record).items()
            if key != "event"
        )
        line = super().format(record)
        head, newline, trace = line.partition("\n")
        return f"{head}{': ' + fields if fields else ''}{newline}{trace}"


class JsonFormatter(logging.Formatter):
    """Formats one JSON object per event, with its fields as keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as JSON."""
        event: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **_extra_fields(record),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def set_up_logging(*, level: str = "info", log_format: str = "text") -> None:
    """Send the log to standard error, without the time under systemd, because the journal adds it."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    elif "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    else:
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # other libraries: warnings and errors only
    logging.getLogger("thoth_watch").setLevel(level.upper())
