"""The ledger's port, and the values that go through it."""

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
class NewResult:
    """A new result of one file, and the output names that it is to have."""

    file_id: int
    sha256: str
    fingerprint: str
    result: StoredResult
    names: tuple[tuple[str, Path], ...]  # format, path
    name_kind: str


@dataclass(frozen=True, slots=True)
class UnpublishedResult:
    """A file whose transcript is durable in the ledger but not yet beside it, with the planned names."""

    waiting: WaitingFile
    claim_no: int
    sha256: str
    result: StoredResult
    names: tuple[tuple[str, Path], ...]  # format, path
    name_kind: str


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """A recording that is DONE, as it lay when it was transcribed."""

    file_id: int
    file: AudioFile
    sha256: str  # of the recording's bytes
    claim_no: int


class Ledger(Protocol):
    """Remembers every audio-named entry, every batch, run and result. All its moves are legal or fail.

    Every method is one durable transaction. `now` is aware UTC.
    """

    def known_files(self, inbox: Path) -> dict[Path, KnownFile]:
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

    def fail_empty_files(self, paths: Sequence[Path], *, now: datetime) -> None:
        """Give up on zero-byte files that stayed so (SEEN becomes FAILED)."""

    def requeue_due_retries(self, *, now: datetime) -> int:
        """RETRY files whose time has come become READY; how many.

        One whose time is further away than any wait was planned before the clock was set back: its
        time has come, too.
        """

    def next_retry_at(self) -> datetime | None:
        """When the next RETRY is due."""

    def waiting(self, resolve_file_options: Callable[[AudioFile], Any]) -> list[WaitingFile]:
        """All READY files."""

    def realtime_factor(self) -> float | None:
        """Seconds of audio per second that the newest runs came to; None before the first."""

    def claim(self, batch: Batch, *, owner: str, now: datetime) -> Claim | None:
        """Take all files of the batch or none (None: some file is no longer READY); attempts are counted."""

    def open_run(
        self,
        claim: Claim,
        *,
        requested: TranscriptionEngineConfig,
        placement: Placement,
        now: datetime,
    ) -> int:
        """Start a run row (RUNNING) for the batch; its id."""

    def record_failed_start(
        self, *, requested: TranscriptionEngineConfig, error: str, host: str, now: datetime
    ) -> int:
        """A FAILED run row without files: the engine could not be had. Its id."""

    def find_result(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """An earlier transcript of the same bytes by the same engine and options."""

    def find_existing_results(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those (sha256, fingerprint) of many that `find_result` finds something for."""

    def find_partial_transcript(self, sha256: str, fingerprint: str) -> PartialTranscript | None:
        """What a cut-off attempt heard of the same bytes by the same engine and options."""

    def save_partial_transcript(
        self, sha256: str, fingerprint: str, partial: PartialTranscript, *, now: datetime
    ) -> None:
        """Remember it instead of what was kept before.

        `record_result` of that key forgets it, and what is kept of parts: `{fingerprint}/{part}`.
        """

    def owner_of(self, path: Path) -> tuple[int, str | None] | None:
        """(file id, sha256 of the content written there) of the recording that has that output name."""

    def owners_of(self, paths: Sequence[Path]) -> dict[Path, tuple[int, str | None]]:
        """As `owner_of`, of many paths; those that nobody has are left out."""

    def record_results(
        self, claim: Claim, results: Sequence[NewResult], *, run_id: int, now: datetime
    ) -> dict[int, dict[Path, str]]:
        """As `record_result`, of those that are CLAIMED by us and whose names no other recording has.

        By file id: what we have written under its names before, by path. The others are left out.
        """

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

    def record_all_published(
        self,
        published: Mapping[int, Sequence[tuple[Path, str]]],
        *,
        claim_no: int,
        now: datetime,
    ) -> None:
        """As `record_published` in DONE, of many files by id; those that are no longer ours are left out."""

    def record_failure(
        self, claim: Claim, *, outcome: FileOutcome, run_id: int, now: datetime
    ) -> bool:
        """CLAIMED or RESULT becomes RETRY, FAILED, QUARANTINED, SEEN or GONE, with the reason."""

    def release(self, claim: Claim, *, now: datetime) -> int:
        """What is still CLAIMED of the batch becomes READY again, its attempt not counted; how many."""

    def release_dead_claims(self, claim: Claim, *, has_died: bool, now: datetime) -> int:
        """A batch has ended without a word: what is CLAIMED of it is READY, its run INTERRUPTED; how many.

        died: with the process that worked on it: counted as in `recover_claims`. Else the attempt is not counted.
        """

    def close_run(self, run_id: int, run: Run, outcomes: Sequence[FileOutcome]) -> None:
        """Finish the run row and write its `run_files`."""

    def unpublished(
        self, resolve_file_options: Callable[[AudioFile], Any]
    ) -> list[UnpublishedResult]:
        """Files in RESULT: published from the ledger, without the engine."""

    def finished(self, inbox: Path) -> list[FinishedFile]:
        """The DONE recordings that lie in an inbox, oldest first."""

    def has_path(self, path: Path) -> bool:
        """Whether some entry, here or GONE, has that path."""

    def record_moved(self, done: FinishedFile, *, to: AudioFile, now: datetime) -> bool:
        """A DONE recording lies elsewhere now; its row and the names of its transcripts go with it.

        False if it is no longer DONE.
        """

    def recover_claims(self, *, now: datetime) -> int:
        """Take back what dead processes held, by the only process that forms batches on this ledger.

        CLAIMED files become READY with one death more, and travel alone from then on; the tenth death (or
        another, as configured) makes them QUARANTINED. RUNNING runs become INTERRUPTED. How many files.
        What workers elsewhere have under a lease that holds, or are sent, is left alone.
        """
