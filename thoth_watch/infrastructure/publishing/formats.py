"""Render transcripts as txt, srt, vtt, tsv and json, with openai/whisper's conventions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.publishing.cues import NO_LIMITS, cues_of, label_of, one_line
from thoth_watch.infrastructure.publishing.json_document import json_document
from thoth_watch.infrastructure.publishing.subtitles import srt, vtt

_SURROGATES = re.compile("[\ud800-\udfff]")  # cannot be encoded as UTF-8


def render(
    transcript: Transcript,
    format_name: str,
    *,
    provenance: Mapping[str, Any] | None = None,
    layout: SubtitleLayout | None = None,
) -> bytes:
    """Return the complete file in UTF-8; a transcript without words also gives a valid file.

    format_name: one of domain.file_options.FORMATS. provenance: program, model and settings, for
    json only. layout: for srt and vtt.
    """
    text = _text(transcript, format_name, provenance or {}, layout or SubtitleLayout())
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text).encode()


def _text(
    transcript: Transcript,
    format_name: str,
    provenance: Mapping[str, Any],
    layout: SubtitleLayout,
) -> str:
    match format_name:
        case "txt":
            return _txt(transcript)
        case "srt":
            return srt(transcript, layout)
        case "vtt":
            return vtt(transcript, layout)
        case "tsv":
            return _tsv(transcript)
        case "json":
            return json_document(transcript, provenance)
    raise ValueError(f"{format_name}: not a format of transcripts")


def _txt(transcript: Transcript) -> str:
    """Return one line per segment, with the speaker, or the channel where it changes, as a label."""
    lines, before = [], None
    for segment in transcript.segments:
        line = one_line(segment.text)
        if line:
            lines.append(f"{label_of(segment, after=before)}{line}\n")
            before = segment
    return "".join(lines)


def _tsv(transcript: Transcript) -> str:
    """Return one row per segment, without speakers, like other Whisper tools."""
    rows = (f"{c.start_ms}\t{c.end_ms}\t{c.words}\n" for c in cues_of(transcript, NO_LIMITS))
    return "start\tend\ttext\n" + "".join(rows)
