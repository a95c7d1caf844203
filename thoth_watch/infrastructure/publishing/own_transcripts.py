"""Which transcripts beside a recording are ours, told from what they say themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from thoth_watch.domain.file_options import FORMATS
from thoth_watch.domain.naming import candidate_names
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Segment, Transcript, Verdict, Word
from thoth_watch.infrastructure.publishing.formats import render
from thoth_watch.infrastructure.publishing.publisher import read_plain_file

_MAX_BYTES = 256 * 2**20


def find_own_transcripts(
    folder: Path,
    source: Path,
    *,
    below: Path,
    pattern: str,
    sha256: str,
    languages: Iterable[str] = (),
    layout: SubtitleLayout | None = None,
) -> list[tuple[Path, str]]:
    """(path, sha256 of the content) of each transcript of that sound which we wrote; none if unsure.

    A json transcript says who made it and of which bytes; those of its name in other formats are
    ours if they are what it would be rendered to. sha256: of the recording's bytes. languages: what
    `{language}` in the pattern may have stood for. layout: of srt
    and vtt; those of another one are not recognised.
    """
    heard = languages if "{language}" in pattern else ("",)
    bases = (
        base
        for language in heard
        for base, _ in candidate_names(source, pattern=pattern, sha256=sha256, language=language)
    )
    for base in bases:
        told = _read(folder / base.replace("{format}", "json"), below)
        document = _parse_own_document(told, sha256)
        if told is None or document is None:
            continue
        found = [(folder / base.replace("{format}", "json"), told)]
        found += _matching_formats(document, folder, base, below, layout)
        return [(path, hashlib.sha256(content).hexdigest()) for path, content in found]
    return []


def _matching_formats(
    document: Any, folder: Path, base: str, below: Path, layout: SubtitleLayout | None
) -> Iterator[tuple[Path, bytes]]:
    transcript = Transcript(
        segments=tuple(_segment(item) for item in document["segments"]),
        language=document["language"],
        duration_s=document["duration"],
        verdict=Verdict(document["verdict"]),
    )
    for name in FORMATS:
        path = folder / base.replace("{format}", name)
        if name == "json":
            continue
        content = render(transcript, name, layout=layout)
        if _read(path, below) == content:
            yield path, content


def _segment(item: Any) -> Segment:
    words = tuple(
        Word(w["start"], w["end"], w["word"], w["probability"], w.get("speaker"))
        for w in item.get("words", ())
    )
    return Segment(
        start=item["start"],
        end=item["end"],
        text=item["text"],
        words=words,
        channel=item.get("channel"),
        speaker=item.get("speaker"),
    )


def _parse_own_document(content: bytes | None, sha256: str) -> Any:
    """The transcript, if it is ours and of that sound."""
    try:
        document = json.loads(content or b"")
        header = document["thoth_watch"]
        is_ours = header["program"] == "thoth-watch" and header["audio_sha256"] == sha256
    except (ValueError, KeyError, TypeError):
        return None
    return document if is_ours else None


def _read(path: Path, below: Path) -> bytes | None:
    return read_plain_file(path, below=below, max_bytes=_MAX_BYTES)
