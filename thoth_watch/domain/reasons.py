"""Normalizes reasons, so that the same problem of many files is shown once."""

from __future__ import annotations

import re

_DETAILS = (
    # when it is retried; older ledgers say "tried again"
    (re.compile(r" \((?:tried again|retry|retrying|retried)\b[^)]*\)$"), ""),
    (re.compile(r"(?<!\S)/\S*[^\s:;,.)]"), "…"),  # a path
    (re.compile(r"'[^']*'|\"[^\"]*\""), "…"),  # something quoted
    (re.compile(r"\S+\.(?:txt|srt|vtt|tsv|json)\b"), "…"),  # a transcript's name
    (re.compile(r"\b\d[\d.,:]*\b"), "n"),
)


def normalize_reason(reason: str) -> str:
    """Return the reason without the names, paths and numbers of a single file."""
    text = reason.strip()
    for pattern, replacement in _DETAILS:
        text = pattern.sub(replacement, text)
    return text
