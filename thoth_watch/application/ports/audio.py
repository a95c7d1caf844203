"""The ports between a file and the engine: decoding, voice activity detection, diarization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from thoth_watch.domain.audio import AudioFile, AudioInfo
from thoth_watch.domain.speakers import Turn
from thoth_watch.domain.speech import SpeechSpans, Vad
from thoth_watch.domain.transcript import PartialTranscript


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording (16 kHz mono float32 in [-1, 1], shape (n_samples,)) with its metadata."""

    key: int  # the caller's number for this recording
    samples: Any  # numpy array or memory map
    sha256: str  # of the file's bytes
    info: AudioInfo
    language: str | None = None
    task: str = "transcribe"
    prompt: str | None = None  # initial prompt; None: the configured one
    speech: SpeechSpans | None = None  # None: speech was not detected
    turns: tuple[Turn, ...] | None = None  # None: not diarized
    channels: tuple[tuple[str, Recording], ...] = ()  # name and recording; transcribed separately
    close: Callable[[], None] = field(default=lambda: None)  # frees the samples of all channels
    partial: PartialTranscript | None = None  # of an interrupted attempt: resume behind it
    save_partial: Callable[[PartialTranscript], None] | None = None  # called with the progress

    @property
    def duration_s(self) -> float:
        """Return the decoded duration in seconds."""
        return self.info.decoded_s


class AudioDecoder(Protocol):
    """Decodes a file to samples in a separate process, so that a crash does no harm."""

    def probe(self, file: AudioFile) -> float | None:
        """Return the declared seconds of a file; None if it declares none or is unreadable. Never raises."""

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        """Read and decode one file to its end.

        Raises NotAudio, FileChanged, DecoderCrashed, FileUnreadable or FileGone, and RetryLater if
        there is no space for the samples. The decoded file is exactly the version that was seen
        (`file.signature`); symlinks are not followed.
        """

    def decode_channels(self, file: AudioFile, *, key: int = 0) -> Recording:
        """Decode like `decode`, but with each channel separately in `Recording.channels`.

        Silent channels and copies of another channel are left out. If only one channel remains, it
        is the recording. A file with too many channels is mixed as in `decode`, with a warning.
        """

    def close(self) -> None:
        """Stop the decode worker."""


class VoiceActivityDetector(Protocol):
    """Voice activity detection (VAD)."""

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        """Return the spans of speech in seconds; empty if there is none.

        samples: float32, shape (n_samples,), 16 kHz mono; a memory map is read piecewise.
        vad: AUTO skips only what is certainly not speech, ON everything that is more likely not speech.
        """


class SpeakerDiarization(Protocol):
    """Speaker diarization: assigns the speech of a recording to speakers."""

    @property
    def name(self) -> str:
        """Return a readable name: model, its revision and the library."""

    @property
    def fingerprint(self) -> str:
        """Return a string of everything that influences the turns: `name` and the number of speakers."""

    def diarize(self, samples: Any) -> tuple[Turn, ...]:
        """Return the speaker turns in time order; turns may overlap.

        samples: float32, shape (n_samples,), 16 kHz mono. Raises DiarizationFailed.
        """
