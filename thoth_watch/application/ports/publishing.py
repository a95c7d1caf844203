"""The ports of everything that leaves the ledger: transcript files, the cache, moved recordings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thoth_watch.application.ports.ledger import StoredResult
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.domain.transcript import Transcript


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
