"""Reasons as people group them: the same trouble of many files is one line."""

from __future__ import annotations

import re

_DETAILS = (
    (re.compile(r" \(tried again [^)]*\)$"), ""),
    (re.compile(r"(?<!\S)/\S*[^\s:;,.)]"), "…"),  # a path
    (re.compile(r"'[^']*'|\"[^\"]*\""), "…"),  # something quoted
    (re.compile(r"\S+\.(?:txt|srt|vtt|tsv|json)\b"), "…"),  # a transcript's name
    (re.compile(r"\b\d[\d.,:]*\b"), "n"),
)


def normalize_reason(reason: str) -> str:
    """The reason without what belongs to one file only: names, paths, numbers."""
    text = reason.strip()
    for pattern, instead in _DETAILS:
        text = pattern.sub(instead, text)
    return text
