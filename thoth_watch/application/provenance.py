"""The provenance of a transcript: how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thoth_watch.application.ports.audio import Recording, SpeakerDiarization
from thoth_watch.application.ports.engine import TranscriptionEngine
from thoth_watch.domain.speech import total_s
from thoth_watch.domain.transcript import Transcript


def provenance_of(
    program: Mapping[str, Any],
    engine: TranscriptionEngine,
    recording: Recording,
    transcript: Transcript,
    *,
    speakers: SpeakerDiarization | None,
) -> dict[str, Any]:
    """Return program, model, engine, device and precision used, and the hash of the audio.

    Contains no time and no file name, so that equal audio gives equal bytes.
    """
    used = engine.placement
    diarization = (
        {} if speakers is None or recording.turns is None else {"diarization": speakers.name}
    )
    return {
        **program,
        "model": used.model,
        "model_revision": used.model_revision,
        "engine": used.engine,
        "device": used.device,
        "device_name": used.device_name,
        "precision": used.precision,
        "audio_sha256": recording.sha256,
        "duration": round(transcript.duration_s, 3),
        "speech": None if recording.speech is None else round(total_s(recording.speech), 3),
        "skipped": round(transcript.skipped_s, 3),
        **diarization,
        "verdict": str(transcript.verdict),
        "reasons": list(transcript.reasons),
        "warnings": list(transcript.warnings),
        "codec": recording.info.codec,
        "decoder": recording.info.decoder,
        "fallbacks": [fallback.as_dict() for fallback in engine.fallbacks],
    }
