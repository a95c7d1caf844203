"""Every port, each method documented once; the ledger's is in `ledger_port.py`.

Adapters in `infrastructure/` fit them by shape.
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
    """Time, so that tests need not sleep."""

    def now(self) -> datetime:
        """The time of day, aware, UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never run backwards."""


class Inbox(Protocol):
    """A watched folder."""

    @property
    def root(self) -> Path:
        """Its absolute path."""

    def scan(self) -> Listing:
        """List the folder now; never raises for what it finds in it (see Listing.problem)."""

    def scan_paths(self, paths: Collection[Path]) -> Listing:
        """As `scan`, of these paths below `root` alone; what else lies there is not told."""


class FileStatus(StrEnum):
    """What became of a file since it was seen."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


class AudioFiles(Protocol):
    """Answers about single recordings, without reading them."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Whether a process has it open for writing, or wrote since; False where that cannot be told."""

    def file_status(self, file: AudioFile) -> FileStatus:
        """Whether it is still the version that was seen. Raises TryLater where its inbox is away."""


class FolderWatcher(Protocol):
    """Says that it may be worth looking; may ring too often, may miss a ring."""

    def wait(self, timeout_s: float) -> bool:
        """Block until something may have changed, `wake` was called, or the time is over."""

    def changed_paths(self) -> Collection[Path] | None:
        """The paths named as changed since this was asked last; None: anything may have changed."""

    def wake(self) -> None:
        """End the wait from another thread."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording: 16 kHz mono float32 in [-1, 1], shape (n_samples,), and where it came from."""

    key: int  # the caller's own number for it
    samples: Any  # numpy array or memory map
    sha256: str  # of the file's bytes
    info: AudioInfo
    language: str | None = None
    task: str = "transcribe"
    prompt: str | None = None  # text that it is to be understood by; None: the configuration's
    speech: SpeechSpans | None = None  # where somebody speaks; None: not looked for
    turns: tuple[Turn, ...] | None = None  # who speaks when; None: not asked
    channels: tuple[tuple[str, Recording], ...] = ()  # each to be heard by itself, by name
    close: Callable[[], None] = field(default=lambda: None)  # frees the samples, of channels too
    partial: PartialTranscript | None = (
        None  # heard by an attempt that was cut off: go on behind it
    )
    save_partial: Callable[[PartialTranscript], None] | None = (
        None  # is told what has been heard so far
    )

    @property
    def duration_s(self) -> float:
        """Decoded seconds."""
        return self.info.decoded_s


class AudioDecoder(Protocol):
    """Turns a file into samples, in a process of its own that may crash without harm."""

    def probe(self, file: AudioFile) -> float | None:
        """Seconds that the file declares; None where it does not say or cannot be read. Never raises."""

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        """Read and decode one file to its end.

        Raises NotAudio, FileChanged, DecoderCrashed, FileUnreadable or FileGone, and TryLater where
        there is no room for samples. The file that is decoded is exactly the one that was seen
        (`file.signature`), through no symlink.
        """

    def decode_channels(self, file: AudioFile, *, key: int = 0) -> Recording:
        """As `decode`, but each channel by itself, under `Recording.channels`.

        Silent channels and those that repeat another are left out. Where one alone is left over, it
        is the recording; one that has too many channels is as `decode` gives it, with a warning.
        """

    def close(self) -> None:
        """End the worker process."""


class VoiceActivityDetector(Protocol):
    """Tells speech from all else."""

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        """Where somebody speaks, in seconds; empty where nobody does.

        samples: float32, shape (n_samples,), 16 kHz mono; a memory map is not read at once.
        vad: AUTO leaves out only what is certainly no speech, ON all that is more likely none.
        """


class SpeakerDiarization(Protocol):
    """Tells the people who speak in a recording from each other."""

    @property
    def name(self) -> str:
        """What does it: model, its revision and the library, for people."""

    @property
    def fingerprint(self) -> str:
        """What decides the names: all of `name`, and how many speakers are looked for."""

    def diarize(self, samples: Any) -> tuple[Turn, ...]:
        """Who speaks when, in time order; people may speak at the same time.

        samples: float32, shape (n_samples,), 16 kHz mono. Raises SpeakersUnknown.
        """


@dataclass(frozen=True, slots=True)
class TranscriptionResult:
    """One finished recording, as the engine hands it over: its transcript, or what went wrong."""

    key: int
    transcript: Transcript | None
    error: str | None = None


@dataclass(slots=True)
class EngineSeconds:
    """Where the engine's time went, and what it cost; the engine adds to it while it works."""

    features_s: float = 0.0
    encode_s: float = 0.0
    generate_s: float = 0.0
    tokens: int = 0
    peak_gpu_bytes: int = 0


class TranscriptionEngine(Protocol):
    """A loaded Whisper."""

    @property
    def placement(self) -> Placement:
        """Where and how it computes, read back from the model."""

    @property
    def load_s(self) -> float:
        """Seconds that loading took."""

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """Everything that was not done as asked so far (a list that may grow: out of memory)."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the words: engine, weights, precision, options, versions."""

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        """Yield each recording's transcript as soon as its last window is decoded.

        recordings are pulled when there is room, so that decoding files and computing overlap.
        on_progress gets the seconds of audio that were just finished. should_stop is asked before
        each forward pass, by which one can tell that the engine is alive. When it turns true the
        engine ends after the present forward pass, leaving unfinished recordings out.
        """


class Progress(Protocol):
    """Shows how far a batch has come, as seconds of audio done."""

    def begin(self, *, files: int, audio_s: float) -> None:
        """A batch of so many files and declared seconds begins."""

    def advance(self, audio_s: float) -> None:
        """So many more seconds of audio are transcribed."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """One file of the batch has come to its end."""

    def end(self) -> None:
        """The batch is over."""


class EnginePool(Protocol):
    """Gives the loaded engine of a model, loading it if it is not there."""

    def engine(self, model: str) -> TranscriptionEngine:
        """The engine for that model. Raises EngineUnavailable."""

    def pop_load_s(self, engine: TranscriptionEngine) -> float:
        """Seconds that loading it took, the first time it is asked; 0 afterwards."""

    @property
    def requested(self) -> TranscriptionEngineConfig:
        """The engine as configured."""


@dataclass(frozen=True, slots=True)
class Output:
    """One transcript file to be written: its whole path and its whole content."""

    path: Path
    content: bytes
    below: Path | None = (
        None  # no link is followed between this folder and the path's; None: its own
    )
    replaces_sha256: str | None = None  # our own older transcript of that name, if it is untouched
    creates_folder: bool = False  # an output folder is made; one beside a recording is not


class TranscriptPublisher(Protocol):
    """Puts transcripts on disk, whole or not at all, never over a file that is not ours."""

    def publish(self, output: Output) -> None:
        """Write one file durably. A file of the same bytes is adopted.

        Raises NameTaken if a file that is not ours has the name, TryLater for a full or read-only disk.
        """

    def publish_all(self, outputs: Sequence[Output]) -> list[NameTaken | RetryLater | None]:
        """As `publish`, of many files side by side; what was in the way of each."""

    def is_foreign(self, path: Path, *, below: Path, ours_sha256: Collection[str]) -> bool:
        """Whether something lies at that path that is not ours (`ours_sha256`: what may lie there).

        No link is followed between `below` and the path.

        Raises TryLater where the folder cannot be looked into.
        """


class TranscriptRenderer(Protocol):
    """Turns a transcript into the bytes of one format."""

    def __call__(
        self, transcript: Transcript, format_name: str, *, provenance: Mapping[str, Any]
    ) -> bytes:
        """The whole content of the file. The same transcript and provenance give the same bytes."""


class TranscriptCache(Protocol):
    """Transcripts that machines without a common ledger share. Never raises: it may forget, and be away."""

    def find(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """A transcript of the same bytes by the same engine and options."""

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """Let the others find it, for some time."""


class RecordingMover(Protocol):
    """Moves recordings, never over anything, and never another file than the one that was seen."""

    def move(self, file: AudioFile, to: Path, *, below: Path, sha256: str) -> Signature:
        """Move the very version that was seen, durably; what tells it at its new place.

        A move that a kill cut short is completed. No link is followed between `below` and the path.
        Raises FileGone or FileChanged where it is not the one that was seen, NameTaken where something
        else has the name, TryLater for a full disk and the like; then nothing was changed.
        """
