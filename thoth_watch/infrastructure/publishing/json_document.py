"""The JSON transcript: whisper's keys plus provenance, verdict and warnings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from thoth_watch.domain.transcript import Segment, Transcript, Word


def json_document(transcript: Transcript, provenance: Mapping[str, Any]) -> str:
    """Return the transcript as one line of JSON."""
    metadata = {
        "duration": transcript.duration_s,
        "verdict": str(transcript.verdict),
        "reasons": list(transcript.reasons),
        "warnings": list(transcript.warnings),
        **provenance,
    }
    document = {
        "text": transcript.text,
        "segments": [_segment(number, s) for number, s in enumerate(transcript.segments)],
        "language": transcript.language,
        "duration": transcript.duration_s,
        "verdict": str(transcript.verdict),
        "thoth_watch": metadata,
    }
    return (
        json.dumps(_replace_non_finite(document), ensure_ascii=False, allow_nan=False, default=str)
        + "\n"
    )


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
    if segment.channel is not None:
        keys["channel"] = segment.channel
    if segment.speaker is not None:
        keys["speaker"] = segment.speaker
    if segment.words:
        keys["words"] = [_word(word) for word in segment.words]
    return keys


def _word(word: Word) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "word": word.word,
        "start": word.start,
        "end": word.end,
        "probability": word.probability,
    }
    if word.speaker is not None:
        keys["speaker"] = word.speaker
    return keys


def _replace_non_finite(value: Any) -> Any:
    """Return the value with NaN and infinity replaced by None, because JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return value
