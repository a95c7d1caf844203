"""SRT and WebVTT. Sources: what players read for SRT, w3.org/TR/webvtt1 (section 4) for WebVTT."""

from __future__ import annotations

import html
from collections.abc import Callable

from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.publishing.cues import Cue, cues_of


def srt(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return the SRT file: cues numbered from 1, times with hours and commas."""
    blocks = []
    for number, cue in enumerate(cues_of(transcript, layout), start=1):
        start, end = (
            _timestamp(ms, decimal_mark=",", always_hours=True) for ms in (cue.start_ms, cue.end_ms)
        )
        blocks.append(f"{number}\n{start} --> {end}\n{_text(cue, escape=str)}\n\n")
    return "".join(blocks)


def vtt(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return the WebVTT file: no hours below one hour, like whisper; `&`, `<` and `>` escaped per the standard."""
    blocks = ["WEBVTT\n\n"]
    for cue in cues_of(transcript, layout):
        start, end = (
            _timestamp(ms, decimal_mark=".", always_hours=False)
            for ms in (cue.start_ms, cue.end_ms)
        )
        blocks.append(f"{start} --> {end}\n{_text(cue, escape=_escape_html)}\n\n")
    return "".join(blocks)


def _escape_html(text: str) -> str:
    return html.escape(text, quote=False)


def _text(cue: Cue, *, escape: Callable[[str], str]) -> str:
    """Return a cue's lines; arrows in the text are shortened, because `-->` separates times."""
    lines = []
    for row, words in enumerate(cue.lines):
        if cue.highlighted is None or cue.highlighted[0] != row:
            lines.append(escape(_without_arrows("".join(words))))
            continue
        column = cue.highlighted[1]
        before, word, after = (
            escape(_without_arrows("".join(part)))
            for part in (words[:column], words[column : column + 1], words[column + 1 :])
        )
        space = word[: len(word) - len(word.lstrip())]
        lines.append(f"{before}{space}<u>{word.lstrip()}</u>{after}")
    return escape(cue.label) + "\n".join(lines)


def _without_arrows(text: str) -> str:
    while "-->" in text:
        text = text.replace("-->", "->")
    return text


def _timestamp(total_ms: int, *, decimal_mark: str, always_hours: bool) -> str:
    minutes, ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours:02d}:" if always_hours or hours else ""
    return f"{head}{minutes:02d}:{ms // 1000:02d}{decimal_mark}{ms % 1000:03d}"
