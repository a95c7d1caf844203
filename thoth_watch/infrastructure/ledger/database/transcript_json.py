"""Lossless conversion of transcripts to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from thoth_watch.application.ports.ledger import StoredResult
from thoth_watch.domain.transcript import PartialTranscript, Segment, Transcript, Verdict, Word
from thoth_watch.infrastructure.ledger.database.column_types import to_json


def transcript_to_document(transcript: Transcript) -> dict[str, Any]:
    """Return lists, dicts and numbers; with the whole text, for queries in SQL."""
    return {
        "text": transcript.text,
        **_field_values(transcript),
        "segments": _segments_to_documents(transcript.segments),
        "verdict": str(transcript.verdict),
    }


def transcript_from_document(document: Mapping[str, Any]) -> Transcript:
    """Return the transcript from the document of `transcript_to_document`."""
    return Transcript(
        segments=tuple(_segment_from_document(item) for item in document["segments"]),
        language=document["language"],
        duration_s=float(document["duration_s"]),
        verdict=Verdict(document["verdict"]),
        reasons=tuple(document.get("reasons", ())),
        warnings=tuple(document["warnings"]),
        n_tokens=document["n_tokens"],
        skipped_s=float(document.get("skipped_s", 0.0)),  # missing before migration 0002
    )


def result_to_json(result: StoredResult) -> str:
    """Return a transcript with its provenance as JSON text, for use outside the ledger."""
    document = {
        "transcript": transcript_to_document(result.transcript),
        "provenance": dict(result.provenance),
    }
    return to_json(document)


def result_from_json(text: str) -> StoredResult:
    """Return the result from the text of `result_to_json`.

    Raises ValueError, KeyError or TypeError for any other text.
    """
    document = json.loads(text)
    return StoredResult(transcript_from_document(document["transcript"]), document["provenance"])


def so_far_to_document(so_far: PartialTranscript) -> dict[str, Any]:
    """Return a partial transcript as lists, dicts and numbers."""
    return {**_field_values(so_far), "segments": _segments_to_documents(so_far.segments)}


def so_far_from_document(document: Mapping[str, Any]) -> PartialTranscript:
    """Return the partial transcript from the document of `so_far_to_document`."""
    segments = tuple(_segment_from_document(item) for item in document["segments"])
    return PartialTranscript(
        document["n_samples"],
        segments,
        document["language"],
        document["n_tokens"],
        document["heard_s"],
    )


def _segments_to_documents(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    return [
        {**_field_values(s), "words": [_field_values(word) for word in s.words]} for s in segments
    ]


def _field_values(item: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name; `asdict` copies the values, which takes much longer."""
    return {field.name: getattr(item, field.name) for field in fields(item)}


def _segment_from_document(item: Mapping[str, Any]) -> Segment:
    return Segment(
        start=float(item["start"]),
        end=float(item["end"]),
        text=item["text"],
        tokens=tuple(item["tokens"]),
        temperature=float(item["temperature"]),
        avg_logprob=float(item["avg_logprob"]),
        compression_ratio=float(item["compression_ratio"]),
        no_speech_prob=float(item["no_speech_prob"]),
        seek=item["seek"],
        channel=item.get("channel"),
        speaker=item.get("speaker"),
        words=tuple(
            Word(
                start=float(word["start"]),
                end=float(word["end"]),
                word=word["word"],
                probability=float(word["probability"]),
                speaker=word.get("speaker"),
            )
            for word in item["words"]
        ),
    )
