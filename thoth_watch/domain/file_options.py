"""What the configuration's rules ask for one recording: language, task, model, prompt, formats, place, priority."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
NEXT_TO_SOURCE = "source"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How one recording is to be transcribed and where its transcripts go."""

    language: str | None = None
    task: str = "transcribe"
    model: str = "builtin"
    prompt: str | None = None  # text to be understood by; None: decoding.initial_prompt
    formats: tuple[str, ...] = ("txt", "json")
    output_dir: str = (
        NEXT_TO_SOURCE  # or an absolute folder, under which the inbox's tree is mirrored
    )
    name: str = "{stem}.{format}"
    priority: int = 0
    channels: str = "mix"  # or split: one speaker a channel
    vad: str = "auto"  # off, auto or on: whether what is no speech is skipped
    diarize: bool = False  # whether speakers are told apart


@dataclass(frozen=True, slots=True)
class Rule:
    """A glob on the path below the inbox, and what it changes. The last rule that matches wins, key by key."""

    match: str
    changes: tuple[tuple[str, Any], ...]  # Treatment field, value


def resolve_file_options(
    relative: PurePath, *, default: FileOptions, rules: tuple[Rule, ...]
) -> FileOptions:
    """The default treatment with every matching rule laid over it, in order."""
    file_options = default
    for rule in rules:
        if matches(relative, rule.match):
            file_options = replace(file_options, **dict(rule.changes))
    return file_options


def matches(relative: PurePath, pattern: str) -> bool:
    """Whether a path below the inbox matches a glob: `*` within a name, `**` across folders, any case as written."""
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
