"""Options for one recording, resolved from the configuration and its rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
NEXT_TO_SOURCE = "source"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Options for transcribing one recording, and the destination of its transcripts."""

    language: str | None = None
    task: str = "transcribe"
    model: str = "builtin"
    prompt: str | None = None  # None: decoding.initial_prompt
    formats: tuple[str, ...] = ("txt", "json")
    # or an absolute folder, in which the subfolders of the inbox are mirrored
    output_dir: str = NEXT_TO_SOURCE
    name: str = "{stem}.{format}"
    priority: int = 0
    channels: str = "mix"  # or split: one speaker per channel
    vad: str = "auto"  # off, auto or on: skip audio without speech
    diarize: bool = False  # whether to identify speakers


@dataclass(frozen=True, slots=True)
class Rule:
    """Changes for files whose path below the inbox matches a glob. For each key the last matching rule wins."""

    match: str
    changes: tuple[tuple[str, Any], ...]  # FileOptions field, value


def resolve_file_options(
    relative: PurePath, *, default: FileOptions, rules: tuple[Rule, ...]
) -> FileOptions:
    """Return the default options with the changes of every matching rule applied, in order."""
    file_options = default
    for rule in rules:
        if matches(relative, rule.match):
            file_options = replace(file_options, **dict(rule.changes))
    return file_options


def matches(relative: PurePath, pattern: str) -> bool:
    """Return True if a path below the inbox matches a glob.

    `*` matches within a name, `**` across folders; matching is case-sensitive.
    """
    return _match_parts(relative.parts, tuple(PurePath(pattern).parts))


def _match_parts(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(parts)
        return any(_match_parts(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
    return (
        bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match_parts(parts[1:], pattern[1:])
    )
