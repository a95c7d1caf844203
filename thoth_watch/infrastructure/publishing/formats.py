"""Transcripts as txt, srt, vtt, tsv and json, in openai/whisper's conventions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from thoth_watch.domain.transcript import Segment, Transcript, Word

_SURROGATES = re.compile("[\ud800-\udfff]")  # no UTF-8 for them


def render(
    transcript: Transcript, format_name: str, *, provenance: Mapping[str, Any] | None = None
) -> bytes:
    """The whole file, UTF-8; a transcript without words gives a valid file too.

    format_name: one of domain.treatment.FORMATS. provenance: who made it and how; stands in json.
    """
    text = _RENDERERS[format_name](transcript, provenance or {})
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text).encode()


@dataclass(frozen=True, slots=True)
class _Cue:
    start_ms: int
    end_ms: int
    text: str  # one line, not empty


def _cues(transcript: Transcript) -> list[_Cue]:
    """What a subtitle shows: in time order, without overlap, each at least a millisecond long."""
    cues: list[_Cue] = []
    free_from_ms = 0
    for segment in transcript.segments:
        text = _one_line(segment.text)
        if not text:
            continue
        start_ms = max(_milliseconds(segment.start), free_from_ms)
        end_ms = max(_milliseconds(segment.end), start_ms + 1)
        cues.append(_Cue(start_ms, end_ms, text))
        free_from_ms = end_ms
    return cues


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


def _one_line(text: str) -> str:
    return " ".join(text.replace("\t", " ").splitlines()).strip()


def _without_arrows(text: str) -> str:
    """The arrow parts times in subtitles; a word may not look like one."""
    while "-->" in text:
        text = text.replace("-->", "->")
    return text


def _clock(total_ms: int, *, mark: str, always_hours: bool) -> str:
    minutes, ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours:02d}:" if always_hours or hours else ""
    return f"{head}{minutes:02d}:{ms // 1000:02d}{mark}{ms % 1000:03d}"


def _txt(transcript: Transcript, _: Mapping[str, Any]) -> str:
    lines = (_one_line(segment.text) for segment in transcript.segments)
    return "".join(f"{line}\n" for line in lines if line)


def _srt(transcript: Transcript, _: Mapping[str, Any]) -> str:
    blocks = []
    for number, cue in enumerate(_cues(transcript), start=1):
        start, end = (_clock(ms, mark=",", always_hours=True) for ms in (cue.start_ms, cue.end_ms))
        blocks.append(f"{number}\n{start} --> {end}\n{_without_arrows(cue.text)}\n\n")
    return "".join(blocks)


def _vtt(transcript: Transcript, _: Mapping[str, Any]) -> str:
    blocks = ["WEBVTT\n\n"]
    for cue in _cues(transcript):
        start, end = (_clock(ms, mark=".", always_hours=False) for ms in (cue.start_ms, cue.end_ms))
        blocks.append(f"{start} --> {end}\n{_without_arrows(cue.text)}\n\n")
    return "".join(blocks)


def _tsv(transcript: Transcript, _: Mapping[str, Any]) -> str:
    rows = (f"{cue.start_ms}\t{cue.end_ms}\t{cue.text}\n" for cue in _cues(transcript))
    return "start\tend\ttext\n" + "".join(rows)


def _json(transcript: Transcript, provenance: Mapping[str, Any]) -> str:
    said = {
        "duration": transcript.duration_s,
        "verdict": str(transcript.verdict),
        "warnings": list(transcript.warnings),
        **provenance,
    }
    document = {
        "text": transcript.text,
        "segments": [_segment(number, s) for number, s in enumerate(transcript.segments)],
        "language": transcript.language,
        "duration": transcript.duration_s,
        "verdict": str(transcript.verdict),
        "thoth_watch": said,
    }
    return json.dumps(_finite(document), ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "id": number,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }
    if segment.words:
        keys["words"] = [_word(word) for word in segment.words]
    return keys


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": word.start,
        "end": word.end,
        "probability": word.probability,
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


_RENDERERS: dict[str, Callable[[Transcript, Mapping[str, Any]], str]] = {
    "txt": _txt,
    "srt": _srt,
    "vtt": _vtt,
    "tsv": _tsv,
    "json": _json,
}
