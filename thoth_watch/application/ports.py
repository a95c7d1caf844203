"""The ports, with the only documentation of their methods; the ledger's port is in `ledger_port.py`.

Adapters in `infrastructure/` implement them structurally, without inheriting.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from thoth_watch.application.lease_port import Leases, OpenBatches, WorkerInfo
from thoth_watch.application.ledger_port import (
    Claim,
    FinishedFile,
    KnownFile,
    Ledger,
    NewResult,
    StoredResult,
    UnpublishedResult,
)
from thoth_watch.domain.audio import AudioFile, AudioInfo, Listing, Signature
from thoth_watch.domain.engine import Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.domain.speakers import Turn
from thoth_watch.domain.speech import SpeechSpans, Vad
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript, Transcript

__all__ = [
    "AudioDecoder",
    "AudioFiles",
    "Claim",
    "Clock",
    "EnginePool",
    "EngineSeconds",
    "FileStatus",
    "FinishedFile",
    "FolderWatcher",
    "Inbox",
    "KnownFile",
    "Leases",
    "Ledger",
    "NewResult",
    "OpenBatches",
    "Output",
    "Progress",
    "Recording",
    "RecordingMover",
    "SpeakerDiarization",
    "StoredResult",
    "TranscriptCache",
    "TranscriptPublisher",
    "TranscriptRenderer",
    "TranscriptionEngine",
    "TranscriptionResult",
    "UnpublishedResult",
    "VoiceActivityDetector",
    "WorkerInfo",
]


class Clock(Protocol):
    """Wall-clock and monotonic time; a port so that tests need not sleep."""

    def now(self) -> datetime:
        """Return the current time as an aware datetime in UTC."""

    def monotonic_s(self) -> float:
        """Return monotonic seconds."""


class Inbox(Protocol):
    """A watched folder."""

    @property
    def root(self) -> Path:
        """Return the absolute path of the folder."""

    def scan(self) -> Listing:
        """List the folder now. Problems with its content are reported in Listing.problem, never raised."""

    def scan_paths(self, paths: Collection[Path]) -> Listing:
        """List only these paths below `root`; the listing contains no other entries."""


class FileStatus(StrEnum):
    """How a file differs from the version that was seen."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


class AudioFiles(Protocol):
    """Checks single recordings without reading them."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Return True if a process has the file open for writing or wrote to it since; False if unknown."""

    def file_status(self, file: AudioFile) -> FileStatus:
        """Compare the file with the version that was seen. Raises RetryLater if its inbox is unavailable."""


class FolderWatcher(Protocol):
    """Notifies of changes in the inboxes; notifications may be spurious or missing."""

    def wait(self, timeout_s: float) -> bool:
        """Block until something may have changed or `wake` is called; False if `timeout_s` passed instead."""

    def changed_paths(self) -> Collection[Path] | None:
        """Return the paths that changed since the last call; None: anything may have changed."""

    def wake(self) -> None:
        """End `wait` from another thread."""


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


@dataclass(frozen=True, slots=True)
class TranscriptionResult:
    """The engine's result for one recording: its transcript, or an error."""

    key: int
    transcript: Transcript | None
    error: str | None = None


@dataclass(slots=True)
class EngineSeconds:
    """Time per stage and resource use; the engine adds to it during `transcribe`."""

    features_s: float = 0.0
    encode_s: float = 0.0
    generate_s: float = 0.0
    tokens: int = 0
    peak_gpu_bytes: int = 0


class TranscriptionEngine(Protocol):
    """A loaded Whisper model."""

    @property
    def placement(self) -> Placement:
        """Return the device, precision and model in use, read back from the model."""

    @property
    def load_s(self) -> float:
        """Return the seconds that loading took."""

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """Return all deviations from the request so far; the list may grow, e.g. when memory runs out."""

    @property
    def fingerprint(self) -> str:
        """Return a hash of everything that influences the text: engine, weights, precision, options, versions."""

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield each recording's transcript as soon as its last window is decoded.

        recordings is consumed as the engine has capacity, so that decoding and computing overlap.
        on_progress receives the seconds of audio that were just finished. should_stop is called
        before each forward pass, which also shows that the engine is alive. When it returns True,
        the engine stops after the current forward pass and yields no unfinished recordings.
        """


class Progress(Protocol):
    """Displays the progress of a batch in seconds of audio."""

    def begin(self, *, files: int, audio_s: float) -> None:
        """Start a batch with this number of files and declared seconds of audio."""

    def advance(self, audio_s: float) -> None:
        """Add transcribed seconds of audio."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Report the final state of one file of the batch."""

    def end(self) -> None:
        """End the batch."""


class EnginePool(Protocol):
    """Provides the engine of a model, loading it if necessary."""

    def engine(self, model: str) -> TranscriptionEngine:
        """Return the engine for that model. Raises EngineUnavailable."""

    def pop_load_s(self, engine: TranscriptionEngine) -> float:
        """Return the load time in seconds on the first call for an engine, 0 afterwards."""

    @property
    def requested(self) -> TranscriptionEngineConfig:
        """Return the configured engine."""


@dataclass(frozen=True, slots=True)
class Output:
    """One transcript file to write: its absolute path and its complete content."""

    path: Path
    content: bytes
    below: Path | None = None  # no symlink is followed below this folder; None: the file's own
    replaces_sha256: str | None = (
        None  # of our earlier transcript, which may be replaced if unedited
    )
    creates_folder: bool = False  # True for output folders, False next to a recording


class TranscriptPublisher(Protocol):
    """Writes transcripts atomically and never over a file that thoth-watch did not write."""

    def publish(self, output: Output) -> None:
        """Write one file durably. An existing file with equal bytes is adopted.

        Raises NameTaken if a foreign file has the name, RetryLater for a full or read-only disk.
        """

    def publish_all(self, outputs: Sequence[Output]) -> list[NameTaken | RetryLater | None]:
        """Publish many files concurrently; return the error of each, None if it was written."""

    def is_foreign(self, path: Path, *, below: Path, ours_sha256: Collection[str]) -> bool:
        """Return True if a foreign file is at that path. ours_sha256: hashes of our possible contents.

        No symlink is followed between `below` and the path. Raises RetryLater if the folder is
        unreadable.
        """


class TranscriptRenderer(Protocol):
    """Renders a transcript in one file format."""

    def __call__(
        self, transcript: Transcript, format_name: str, *, provenance: Mapping[str, Any]
    ) -> bytes:
        """Return the complete file content. Equal transcripts and provenance give equal bytes."""


class TranscriptCache(Protocol):
    """Transcripts shared by machines without a common ledger. Never raises; entries may be lost."""

    def find(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """Return a transcript of the same bytes by the same engine and options."""

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """Make a result available to other machines for a limited time."""


class RecordingMover(Protocol):
    """Moves recordings without overwriting, and only the version that was seen."""

    def move(self, file: AudioFile, to: Path, *, below: Path, sha256: str) -> Signature:
        """Move the version that was seen, durably; return its signature at the new path.

        A move that was interrupted by a kill is completed. No symlink is followed between `below`
        and the path. Raises FileGone or FileChanged if the file is not the version that was seen,
        NameTaken if the name is in use, RetryLater for a full disk and the like; nothing has
        changed then.
        """
