"""Decodes a recording, and detects speech and speakers in it, before it is transcribed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from thoth_watch.application.ports.audio import (
    AudioDecoder,
    Recording,
    SpeakerDiarization,
    VoiceActivityDetector,
)
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.channels import Channels, merge_spans
from thoth_watch.domain.errors import DiarizationFailed
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.speech import Vad


@dataclass(frozen=True, slots=True)
class RecordingReader:
    """Decodes recordings, with the speech spans and speaker turns that their options request."""

    decoder: AudioDecoder
    voice: VoiceActivityDetector | None = None
    speakers: SpeakerDiarization | None = None

    def read(self, file: AudioFile, file_options: FileOptions, *, key: int) -> Recording:
        """Return the decoded recording. Raises AudioError and RetryLater."""
        is_split = file_options.channels == Channels.SPLIT
        decode = self.decoder.decode_channels if is_split else self.decoder.decode
        return detect_speech(
            decode(file, key=key), file_options, voice=self.voice, speakers=self.speakers
        )


def detect_speech(
    recording: Recording,
    file_options: FileOptions,
    *,
    voice: VoiceActivityDetector | None,
    speakers: SpeakerDiarization | None,
) -> Recording:
    """Return the recording with its speech spans and speaker turns, as far as its options request them.

    Recordings that are split by channel are not diarized: the channels are the speakers.
    If diarization fails, closes the recording and raises DiarizationFailed.
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
    channels = tuple(
        (name, _with_speech(part, voice, vad=vad)) for name, part in recording.channels
    )
    speech = merge_spans([channel.speech or () for _, channel in channels])
    return replace(recording, channels=channels, speech=speech)
