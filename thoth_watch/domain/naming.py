"""What a transcript beside a recording is called, and what it is called when that name is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from thoth_watch.domain.engine import Task

MAX_NAME_BYTES = 255  # ext4, xfs, btrfs, ntfs
MAX_NUMBERED_NAMES = 9  # recordings of one stem that still get a name each
UNDETERMINED = "und"  # the language of silence. Source: ISO 639-2


def language_in_name(language: str, task: str) -> str:
    """What `{language}` stands for: the language of the text, which a translation has in English."""
    return "en" if task == Task.TRANSLATE else language or UNDETERMINED


def candidate_names(
    source: Path, *, pattern: str, sha256: str, language: str
) -> Iterator[tuple[str, str]]:
    """The bases a transcript's name may be made from, best first, each with what it is.

    language: as `language_in_name` gives it. Yields (pattern with language and stem filled in, kind):
    `stem` as configured, then `full` for another recording of that stem (`a.mp3.txt`), then
    `alternate` for a foreign file of that name (`a.thoth-1a2b3c4d.txt`). `{format}` is still to be
    filled in.
    """
    pattern = pattern.replace("{language}", language)
    yield _fill(pattern, source.stem), "stem"
    yield _fill(pattern, source.name), "full"
    for mark in _suffixes(sha256):
        yield _fill(pattern, f"{source.stem}.{mark}"), "alternate"


def candidate_archive_paths(relative: PurePath, sha256: str) -> Iterator[PurePath]:
    """Where a recording may go below another folder: the same place, then one that nobody has."""
    yield relative
    for mark in _suffixes(sha256):
        end = f".{mark}{relative.suffix}"
        yield relative.with_name(truncate_to_bytes(relative.stem, MAX_NAME_BYTES - len(end)) + end)


def _suffixes(sha256: str) -> Iterator[str]:
    """`thoth-1a2b3c4d`, then with numbers, for recordings of the same bytes."""
    mark = f"thoth-{sha256[:8]}"
    yield mark
    yield from (f"{mark}-{number}" for number in range(2, MAX_NUMBERED_NAMES))


def _fill(pattern: str, stem: str) -> str:
    room = MAX_NAME_BYTES - len(pattern.replace("{stem}", "").replace("{format}", "json").encode())
    return pattern.replace("{stem}", truncate_to_bytes(stem, room))


def truncate_to_bytes(text: str, limit: int) -> str:
    """The beginning of the text, at most `limit` bytes of UTF-8, never cut inside a character."""
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) <= limit:
        return text
    while (raw[limit] & 0xC0) == 0x80:  # the next byte belongs to the character before it
        limit -= 1
    return raw[:limit].decode("utf-8", "surrogateescape")
