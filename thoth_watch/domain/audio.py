"""Audio files on disk, inbox listings, and the settings and results of decoding."""

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
    """Decoding settings: mono at `sample_rate` Hz, read in blocks of `buffer_duration` seconds."""

    sample_rate: int = SAMPLE_RATE_HZ
    buffer_duration: float = 3.0  # seconds decoded per block


@dataclass(frozen=True, slots=True)
class Signature:
    """Identifies one version of a file; equal signatures mean that the file did not change."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A recording on disk: its path and the signature of the version that was scanned."""

    inbox: Path  # absolute root of the watched folder
    path: Path  # absolute; may hold undecodable bytes (surrogateescape)
    signature: Signature

    @property
    def relative(self) -> Path:
        """Return the path relative to the inbox, which rules match and messages show."""
        return self.path.relative_to(self.inbox)


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry with an audio extension that is not a regular, readable file, and the reason."""

    inbox: Path
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The result of one scan of an inbox. Scans decide what exists; events only trigger them."""

    inbox: Path
    files: tuple[AudioFile, ...] = ()
    refused: tuple[RefusedEntry, ...] = ()
    awaiting_sentinel: frozenset[Path] = frozenset()  # files whose sentinel file is still missing
    ignored: int = 0  # number of hidden, junk and partially uploaded files
    other: int = 0  # number of files without an audio extension
    problem: str | None = None  # why the scan is incomplete; then no file may be marked GONE
    identity: tuple[int, int] | None = None  # device and inode of the folder; None: missing


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Properties that a recording's container declares, and what decoding produced."""

    declared_s: float | None  # from the container; None: not declared
    decoded_s: float  # samples / rate
    source_rate_hz: int
    source_channels: int
    codec: str
    decoder: str  # "soundfile" or "av", with version
    warnings: tuple[str, ...] = ()
