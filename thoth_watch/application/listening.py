"""Finds where somebody speaks in a decoded recording, and who, before the engine hears it."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports import Recording, SpeakerDiarization, VoiceActivity
from thoth_watch.domain.channels import joined
from thoth_watch.domain.errors import SpeakersUnknown
from thoth_watch.domain.speech import Vad
from thoth_watch.domain.treatment import Treatment


def listened(
    recording: Recording,
    treatment: Treatment,
    *,
    voice: VoiceActivity | None,
    speakers: SpeakerDiarization | None,
) -> Recording:
    """The recording with its stretches of speech and its turns, as far as its treatment asks for them.

    Where each channel is heard by itself, channels are the speakers. Raises SpeakersUnknown; then
    the recording is closed.
    """
    recording = _with_speech(recording, voice, vad=treatment.vad)
    if speakers is None or not treatment.diarize or recording.channels:
        return recording
    try:
        turns = speakers.turns(recording.samples) if recording.speech != () else ()
    except SpeakersUnknown:
        recording.close()
        raise
    return replace(recording, turns=turns)


def _with_speech(recording: Recording, voice: VoiceActivity | None, *, vad: str) -> Recording:
    if voice is None or vad == Vad.OFF:
        return recording
    if not recording.channels:
        return replace(recording, speech=voice.speech(recording.samples, vad=Vad(vad)))
    channels = tuple((name, _with_speech(c, voice, vad=vad)) for name, c in recording.channels)
    speech = joined([channel.speech or () for _, channel in channels])
    return replace(recording, channels=channels, speech=speech)
