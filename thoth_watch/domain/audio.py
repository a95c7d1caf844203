"""A recording as it lies on disk, and how sound is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SAMPLE_RATE_HZ = 16_000  # Whisper's input rate

AUDIO_EXTENSIONS = (
    *("wav", "flac", "ogg", "oga", "opus", "mp3", "mp2", "m4a", "m4b", "aac", "aif", "aiff", "caf"),
    *("wma", "asf", "amr", "mp4", "m4v", "mov", "mkv", "mka", "webm", "3gp"),
)


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """How sound is decoded: always mono, at `sample_rate` Hz, `buffer_duration` seconds per block."""

    sample_rate: int = SAMPLE_RATE_HZ
    buffer_duration: float = 3.0  # seconds decoded per block


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells one version of a file from the next; equal means untouched."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A recording on disk: where it lies and which version of it was seen."""

    inbox: Path  # absolute root of the watched folder
    path: Path  # absolute; may hold undecodable bytes (surrogateescape)
    signature: Signature

    @property
    def relative(self) -> Path:
        """The path below the inbox: what rules match and what people read."""
        return self.path.relative_to(self.inbox)


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An audio-named entry that is not a plain readable file (symlink, FIFO, folder, device...), and why."""

    inbox: Path
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at an inbox. The truth; events only say when to look."""

    inbox: Path
    files: tuple[AudioFile, ...] = ()
    refused: tuple[RefusedEntry, ...] = ()
    awaiting_sentinel: frozenset[Path] = (
        frozenset()
    )  # files whose writer has not yet said that they are whole
    ignored: int = 0  # hidden, junk and partial-upload names
    other: int = 0  # names that are not audio
    problem: str | None = None  # why this look is incomplete; then nothing may be marked GONE
    identity: tuple[int, int] | None = None  # device and inode of the folder; None: it is not there


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a recording declares and what decoding gave."""

    declared_s: float | None  # from the container; None where it does not say
    decoded_s: float  # samples / rate
    source_rate_hz: int
    source_channels: int
    codec: str
    decoder: str  # "soundfile" or "av", with version
    warnings: tuple[str, ...] = ()
