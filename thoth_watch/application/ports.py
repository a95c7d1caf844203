"""Every port, each method documented once. Adapters in `infrastructure/` fit them by shape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from thoth_watch.domain.audio import AudioFile, Listing, RefusedEntry, Signature, SoundInfo
from thoth_watch.domain.batching import Batch, WaitingFile
from thoth_watch.domain.engine import Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.run import FileOutcome, Run
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Transcript


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

    def look(self) -> Listing:
        """List the folder now; never raises for what it finds in it (see Listing.problem)."""


class Whereabouts(StrEnum):
    """What became of a file since it was seen."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


class AudioFiles(Protocol):
    """Answers about single recordings, without reading them."""

    def is_being_written(self, file: AudioFile) -> bool:
        """Whether a process has it open for writing, or wrote since; False where that cannot be told."""

    def whereabouts(self, file: AudioFile) -> Whereabouts:
        """Whether it is still the version that was seen. Raises TryLater where its inbox is away."""


class Doorbell(Protocol):
    """Says that it may be worth looking; may ring too often, may miss a ring."""

    def wait(self, timeout_s: float) -> bool:
        """Block until something may have changed, `wake` was called, or the time is over."""

    def wake(self) -> None:
        """End the wait from another thread."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording: 16 kHz mono float32 in [-1, 1], shape (n_samples,), and where it came from."""

    key: int  # the caller's own number for it
    samples: Any  # numpy array or memory map
    sha256: str  # of the file's bytes
    info: SoundInfo
    language: str | None = None
    task: str = "transcribe"
    close: Callable[[], None] = field(default=lambda: None)  # frees the samples

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

    def close(self) -> None:
        """End the worker process."""


@dataclass(frozen=True, slots=True)
class Transcribed:
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
    ) -> Iterator[Transcribed]:
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

    def load_s_of_first_use(self, engine: TranscriptionEngine) -> float:
        """Seconds that loading it took, the first time it is asked; 0 afterwards."""

    @property
    def asked(self) -> TranscriptionEngineConfig:
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
    makes_folder: bool = False  # an output folder is made; one beside a recording is not


class TranscriptPublisher(Protocol):
    """Puts transcripts on disk, whole or not at all, never over a file that is not ours."""

    def publish(self, output: Output) -> None:
        """Write one file durably. A file of the same bytes is adopted.

        Raises NameTaken if a file that is not ours has the name, TryLater for a full or read-only disk.
        """

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


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the ledger knows of one path."""

    file_id: int
    state: State
    signature: Signature | None  # None for a refused entry


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch taken by us: nobody else works on it, and late writers are fenced off by the number."""

    batch_id: int
    claim_no: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A transcript in the ledger with the provenance of the run that made it."""

    transcript: Transcript
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A file whose transcript is durable in the ledger but not yet beside it, with the planned names."""

    waiting: WaitingFile
    claim_no: int
    sha256: str
    result: StoredResult
    names: tuple[tuple[str, Path], ...]  # format, path
    name_kind: str


class Ledger(Protocol):
    """Remembers every audio-named entry, every batch, run and result. All its moves are legal or fail.

    Every method is one durable transaction. `now` is aware UTC.
    """

    def known(self, inbox: Path) -> dict[Path, KnownFile]:
        """All entries of an inbox that are not GONE, by absolute path."""

    def settling(self, inbox: Path) -> set[Path]:
        """The paths of an inbox in state SEEN."""

    def record_listing(
        self,
        *,
        seen: Sequence[tuple[AudioFile, str]],
        ready: Sequence[tuple[AudioFile, float | None]],
        refused: Sequence[RefusedEntry],
        gone: Sequence[Path],
        now: datetime,
    ) -> None:
        """Record what one look changed.

        seen: new or changed files, each with its reason; a new row, or SEEN again with attempts and
        crashes set back when the signature changed (same signature: only the reason is updated).
        ready: settled files with their declared seconds; SEEN becomes READY.
        refused: entries that are not plain files. gone: paths that are no longer there.
        """

    def fail_empty(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Give up on zero-byte files that stayed so (SEEN becomes FAILED)."""

    def wake_retries(self, *, now: datetime) -> int:
        """RETRY files whose time has come become READY; how many.

        One whose time is further away than any wait was planned before the clock was set back: its
        time has come, too.
        """

    def next_retry_at(self) -> datetime | None:
        """When the next RETRY is due."""

    def waiting(self, treatment_of: Callable[[AudioFile], Any]) -> list[WaitingFile]:
        """All READY files."""

    def claim(self, batch: Batch, *, owner: str, now: datetime) -> Claim | None:
        """Take all files of the batch or none (None: some file is no longer READY); attempts are counted."""

    def open_run(
        self, claim: Claim, *, asked: TranscriptionEngineConfig, placement: Placement, now: datetime
    ) -> int:
        """Start a run row (RUNNING) for the batch; its id."""

    def record_failed_start(
        self, *, asked: TranscriptionEngineConfig, error: str, host: str, now: datetime
    ) -> int:
        """A FAILED run row without files: the engine could not be had. Its id."""

    def find_result(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """An earlier transcript of the same bytes by the same engine and options."""

    def owner_of(self, path: Path) -> tuple[int, str | None] | None:
        """(file id, sha256 of the content written there) of the recording that has that output name."""

    def record_result(
        self,
        claim: Claim,
        *,
        file_id: int,
        run_id: int,
        sha256: str,
        fingerprint: str,
        result: StoredResult,
        names: Sequence[tuple[str, Path]],
        name_kind: str,
        now: datetime,
    ) -> bool:
        """CLAIMED becomes RESULT: transcript durable, output names reserved, before anything is written.

        False if the claim is no longer ours or the file changed meanwhile: throw the work away.
        """

    def record_published(
        self,
        *,
        file_id: int,
        claim_no: int,
        state: State,
        reason: str,
        published: Sequence[tuple[Path, str]],
        now: datetime,
    ) -> bool:
        """RESULT becomes DONE (or CONFLICT): (path, sha256 of content) of each file that lies there now."""

    def record_failure(
        self, claim: Claim, *, outcome: FileOutcome, run_id: int, now: datetime
    ) -> bool:
        """CLAIMED or RESULT becomes RETRY, FAILED, QUARANTINED, SEEN or GONE, with the reason."""

    def release(self, claim: Claim, *, now: datetime) -> int:
        """What is still CLAIMED of the batch becomes READY again, its attempt not counted; how many."""

    def close_run(self, run_id: int, run: Run, outcomes: Sequence[FileOutcome]) -> None:
        """Finish the run row and write its `run_files`."""

    def unpublished(self, treatment_of: Callable[[AudioFile], Any]) -> list[Unpublished]:
        """Files in RESULT: published from the ledger, without the engine."""

    def recover(self, *, now: datetime) -> int:
        """At the start of the only process that works on this ledger: take back what a dead one held.

        CLAIMED files become READY with one death more, and travel alone from then on; the fifth death
        makes them QUARANTINED. RUNNING runs become INTERRUPTED. How many files.
        """
