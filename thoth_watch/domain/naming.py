"""Candidate names for transcripts and archived recordings, in order of preference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from thoth_watch.domain.engine import Task

MAX_NAME_BYTES = 255  # ext4, xfs, btrfs, ntfs
MAX_NUMBERED_NAMES = 9  # limit of alternate names, for recordings with equal stem and content
UNDETERMINED = "und"  # language code of a transcript without text. Source: ISO 639-2


def language_in_name(language: str, task: str) -> str:
    """Return the value of `{language}`: the language of the text, which is English for translations."""
    return "en" if task == Task.TRANSLATE else language or UNDETERMINED


def candidate_names(
    source: Path, *, pattern: str, sha256: str, language: str
) -> Iterator[tuple[str, str]]:
    """Yield the possible names of a transcript with their kind, best first.

    language: from `language_in_name`. Yields (pattern with language and stem filled in, kind):
    `stem` as configured, then `full` in case another recording has that stem (`a.mp3.txt`), then
    `alternate` in case a foreign file has that name (`a.thoth-1a2b3c4d.txt`). `{format}` is left
    in place.
    """
    pattern = pattern.replace("{language}", language)
    yield _fill(pattern, source.stem), "stem"
    yield _fill(pattern, source.name), "full"
    for suffix in _suffixes(sha256):
        yield _fill(pattern, f"{source.stem}.{suffix}"), "alternate"


def candidate_archive_paths(relative: PurePath, sha256: str) -> Iterator[PurePath]:
    """Yield the possible paths of a recording below another folder: the same path, then alternates."""
    yield relative
    for suffix in _suffixes(sha256):
        end = f".{suffix}{relative.suffix}"
        yield relative.with_name(truncate_to_bytes(relative.stem, MAX_NAME_BYTES - len(end)) + end)


def _suffixes(sha256: str) -> Iterator[str]:
    """Yield `thoth-1a2b3c4d`, then numbered variants for recordings with equal bytes."""
    suffix = f"thoth-{sha256[:8]}"
    yield suffix
    yield from (f"{suffix}-{number}" for number in range(2, MAX_NUMBERED_NAMES))


def _fill(pattern: str, stem: str) -> str:
    stem_bytes = MAX_NAME_BYTES - len(
        pattern.replace("{stem}", "").replace("{format}", "json").encode()
    )
    return pattern.replace("{stem}", truncate_to_bytes(stem, stem_bytes))


def truncate_to_bytes(text: str, limit: int) -> str:
    """Return the beginning of the text, at most `limit` bytes of UTF-8, cut between characters."""
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) <= limit:
        return text
    while (raw[limit] & 0xC0) == 0x80:  # the next byte belongs to the character before it
        limit -= 1
    return raw[:limit].decode("utf-8", "surrogateescape")
