"""The ledger's ports, one per role, and the values that they exchange."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from thoth_watch.domain.audio import AudioFile, RefusedEntry, Signature
from thoth_watch.domain.batching import Batch, WaitingFile
from thoth_watch.domain.engine import Placement, TranscriptionEngineConfig
from thoth_watch.domain.run import FileOutcome, Run
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import PartialTranscript, Transcript


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The ledger's record of one path."""

    file_id: int
    state: State
    signature: Signature | None  # None for a refused entry


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that this process has claimed. The claim number rejects writes of earlier claims (fencing)."""

    batch_id: int
    claim_no: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A transcript in the ledger with the provenance of the run that made it."""

    transcript: Transcript
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewResult:
    """A new result of one file, and the output names to reserve for it."""

    file_id: int
    sha256: str
    fingerprint: str
    result: StoredResult
    names: tuple[tuple[str, Path], ...]  # format, path
    name_kind: str


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """The end of publishing one file: its final state and the transcript files that exist now."""

    file_id: int
    claim_no: int
    state: State  # DONE or CONFLICT
    reason: str
    written: tuple[tuple[Path, str], ...]  # path, sha256 of the content


@dataclass(frozen=True, slots=True)
class UnpublishedResult:
    """A file whose transcript is durable in the ledger but not yet on disk, with the planned names."""

    waiting: WaitingFile
    claim_no: int
    sha256: str
    result: StoredResult
    names: tuple[tuple[str, Path], ...]  # format, path
    name_kind: str


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """A recording that is DONE, with the path and signature that it had when it was transcribed."""

    file_id: int
    file: AudioFile
    sha256: str  # of the recording's bytes
    claim_no: int


class InboxLedger(Protocol):
    """The entries of the inboxes: what the ledger knows of them, and what a scan changes.

    Every method is one durable transaction; `now` is aware UTC. An illegal transition raises ValueError.
    """

    def known_files(self, inbox: Path) -> dict[Path, KnownFile]:
        """Return all entries of an inbox that are not GONE, by absolute path."""

    def settling(self, inbox: Path) -> set[Path]:
        """Return the paths of an inbox in state SEEN."""

    def record_listing(
        self,
        *,
        seen: Sequence[tuple[AudioFile, str]],
        ready: Sequence[tuple[AudioFile, float | None]],
        refused: Sequence[RefusedEntry],
        gone: Sequence[Path],
        now: datetime,
    ) -> None:
        """Record the changes that one scan found.

        seen: new or changed files, each with its reason; a new row, or SEEN again with attempts and
        crashes set back when the signature changed (same signature: only the reason is updated).
        ready: settled files with their declared seconds; SEEN becomes READY.
        refused: entries that are not plain files. gone: paths that are no longer there.
        """

    def fail_empty_files(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Mark files that are still empty as FAILED (from SEEN)."""


class BatchQueue(Protocol):
    """The files that wait for a batch, and the claims of batches.

    Every method is one durable transaction; `now` is aware UTC. An illegal transition raises ValueError.
    """

    def waiting(self, resolve_file_options: Callable[[AudioFile], Any]) -> list[WaitingFile]:
        """Return all READY files."""

    def requeue_due_retries(self, *, now: datetime) -> int:
        """Make RETRY files whose time has come READY; return their number.

        A file whose time is later than the longest possible wait also counts as due: it was planned
        before the clock was set back.
        """

    def next_retry_at(self) -> datetime | None:
        """Return the time of the next RETRY; None if there is none."""

    def realtime_factor(self) -> float | None:
        """Return the speed of the newest runs in seconds of audio per second; None before the first run."""

    def claim(self, batch: Batch, *, owner: str, now: datetime) -> Claim | None:
        """Claim all files of the batch and count an attempt of each; None if any is no longer READY."""

    def release_dead_claims(self, claim: Claim, *, has_died: bool, now: datetime) -> int:
        """Release a batch whose worker reported no result; return the number of files made READY.

        Its run becomes INTERRUPTED. has_died: the worker process died, which counts as in
        `recover_claims`; otherwise the attempt is not counted.
        """

    def recover_claims(self, *, now: datetime) -> int:
        """Release the claims of dead processes; return the number of files.

        Only the process that forms batches on this ledger may call this. CLAIMED files become READY
        with one more death and run in a batch of their own from then on; at the configured number of
        deaths (10 by default) they become QUARANTINED. RUNNING runs become INTERRUPTED. Batches that
        were sent to remote workers, or that they hold under a valid lease, are not touched.
        """


class Results(Protocol):
    """Transcripts by content and fingerprint, and the output names of the recordings.

    Every method is one durable transaction; `now` is aware UTC. An illegal transition raises ValueError.
    """

    def find_result(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """Return an earlier transcript of the same bytes by the same engine and options."""

    def find_existing_results(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those (sha256, fingerprint) keys that `find_result` has a result for."""

    def find_partial_transcript(self, sha256: str, fingerprint: str) -> PartialTranscript | None:
        """Return the progress of an interrupted attempt on the same bytes, engine and options."""

    def save_partial_transcript(
        self, sha256: str, fingerprint: str, partial: PartialTranscript, *, now: datetime
    ) -> None:
        """Store the progress of an unfinished transcript, replacing earlier progress.

        `record_results` deletes it when the transcript is complete.
        """

    def owners_of(self, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        """Return the owners of output names: file id, and sha256 of the written content or None.

        Paths without an owner are left out.
        """

    def record_results(
        self, claim: Claim, results: Sequence[NewResult], *, run_id: int, now: datetime
    ) -> dict[int, dict[Path, str] | None]:
        """Make files RESULT: store their transcripts and reserve their output names before anything is written.

        A file that is RESULT by the same claim gets the new names. Returns by file id the sha256 of
        what was published under these names before, by path; None for a file of which another
        recording has a name (nothing is recorded for it). Files that the claim no longer holds are
        left out; discard their results. Partial transcripts of a recorded key and of its parts
        (`{fingerprint}/{part}`) are deleted.
        """

    def record_published(self, published: Sequence[PublishedResult], *, now: datetime) -> set[int]:
        """Make RESULT files DONE or CONFLICT; return the ids of those that their claim still held.

        A file without any free name goes from CLAIMED to CONFLICT. Names that were reserved but not
        written are released.
        """

    def unpublished(
        self, resolve_file_options: Callable[[AudioFile], Any]
    ) -> list[UnpublishedResult]:
        """Return the RESULT files, which are published from the ledger without an engine."""


class RunLog(Protocol):
    """The runs of claimed batches, with the failures and releases of their files.

    Every method is one durable transaction; `now` is aware UTC. An illegal transition raises ValueError.
    """

    def open_run(
        self,
        claim: Claim,
        *,
        requested: TranscriptionEngineConfig,
        placement: Placement,
        now: datetime,
    ) -> int:
        """Insert a run row (RUNNING) for the batch; return its id."""

    def close_run(self, run_id: int, run: Run, outcomes: Sequence[FileOutcome]) -> None:
        """Finish the run row and write its `run_files`."""

    def record_failed_start(
        self, *, requested: TranscriptionEngineConfig, error: str, host: str, now: datetime
    ) -> int:
        """Insert a FAILED run row without files, because the engine was unavailable; return its id."""

    def record_failure(
        self, claim: Claim, *, outcome: FileOutcome, run_id: int, now: datetime
    ) -> bool:
        """Make a CLAIMED or RESULT file RETRY, FAILED, QUARANTINED, SEEN or GONE, with the reason."""

    def release(self, claim: Claim, *, now: datetime) -> int:
        """Make the batch's CLAIMED files READY again without counting the attempt; return their number."""


class Archive(Protocol):
    """The finished recordings and the paths to which they are moved.

    Every method is one durable transaction; `now` is aware UTC. An illegal transition raises ValueError.
    """

    def finished(self, inbox: Path) -> list[FinishedFile]:
        """Return the DONE recordings of an inbox, oldest first."""

    def has_path(self, path: Path) -> bool:
        """Return True if any entry has that path, GONE ones included."""

    def record_moved(self, done: FinishedFile, *, to: AudioFile, now: datetime) -> bool:
        """Record the new path of a DONE recording in its row; its transcripts' names stay its own.

        Returns False if it is no longer DONE.
        """
