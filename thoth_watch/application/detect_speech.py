"""Finds where somebody speaks in a decoded recording, and who, before the engine hears it."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports import Recording, SpeakerDiarization, VoiceActivityDetector
from thoth_watch.domain.channels import merge_spans
from thoth_watch.domain.errors import DiarizationFailed
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.speech import Vad


def detect_speech(
    recording: Recording,
    file_options: FileOptions,
    *,
    voice: VoiceActivityDetector | None,
    speakers: SpeakerDiarization | None,
) -> Recording:
    """The recording with its stretches of speech and its turns, as far as its treatment asks for them.

    Where each channel is heard by itself, channels are the speakers. Raises SpeakersUnknown; then
    the recording is closed.
    """
    recording = _with_speech(recording, voice, vad=file_options.vad)
    if speakers is None or not file_options.diarize or recording.channels:
        return recording
    try:
        turns = speakers.diarize(recording.samples) if recording.speech != () else ()
    except DiarizationFailed:
        recording.close()
        raise
    return replace(recording, turns=turns)


def _with_speech(
    recording: Recording, voice: VoiceActivityDetector | None, *, vad: str
) -> Recording:
    if voice is None or vad == Vad.OFF:
        return recording
    if not recording.channels:
        return replace(recording, speech=voice.detect(recording.samples, vad=Vad(vad)))
    channels = tuple((name, _with_speech(c, voice, vad=vad)) for name, c in recording.channels)
    speech = merge_spans([channel.speech or () for _, channel in channels])
    return replace(recording, channels=channels, speech=speech)
