"""Recognize the transcripts next to a recording that thoth-watch wrote, by their own content."""

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
    """Return (path, sha256 of the content) of each own transcript of that audio; empty if unsure.

    A JSON transcript names its program and the hash of the audio. Files of the same name in other
    formats are own transcripts if rendering the JSON one gives the same bytes.
    sha256: of the recording's bytes. languages: possible values of `{language}` in the pattern.
    layout: of srt and vtt files; files in another layout are not recognized.
    """
    possible_languages = languages if "{language}" in pattern else ("",)
    bases = (
        base
        for language in possible_languages
        for base, _ in candidate_names(source, pattern=pattern, sha256=sha256, language=language)
    )
    for base in bases:
        content = _read(folder / base.replace("{format}", "json"), below)
        document = _parse_own_document(content, sha256)
        if content is None or document is None:
            continue
        found = [(folder / base.replace("{format}", "json"), content)]
        found += _matching_formats(document, folder, base, below, layout)
        return [(path, hashlib.sha256(data).hexdigest()) for path, data in found]
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
    """Return the parsed JSON transcript if thoth-watch wrote it for that audio, or None."""
    try:
        document = json.loads(content or b"")
        header = document["thoth_watch"]
        is_ours = header["program"] == "thoth-watch" and header["audio_sha256"] == sha256
    except (ValueError, KeyError, TypeError):
        return None
    return document if is_ours else None


def _read(path: Path, below: Path) -> bytes | None:
    return read_plain_file(path, below=below, max_bytes=_MAX_BYTES)
