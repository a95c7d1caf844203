"""Finds where somebody speaks in a decoded recording, before the engine hears it."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports import Recording, VoiceActivity
from thoth_watch.domain.channels import joined
from thoth_watch.domain.speech import Vad


def listened(recording: Recording, voice: VoiceActivity | None, *, vad: str) -> Recording:
    """The recording with its stretches of speech, or as it is where they are not asked for."""
    if voice is None or vad == Vad.OFF:
        return recording
    if not recording.channels:
        return replace(recording, speech=voice.speech(recording.samples, vad=Vad(vad)))
    channels = tuple((name, listened(c, voice, vad=vad)) for name, c in recording.channels)
    speech = joined([channel.speech or () for _, channel in channels])
    return replace(recording, channels=channels, speech=speech)
