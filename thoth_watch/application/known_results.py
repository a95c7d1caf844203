"""Finds existing transcripts of the same audio: in the ledger, in the shared cache, or in progress elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from thoth_watch.application.ports.audio import SpeakerDiarization
from thoth_watch.application.ports.dispatch import Leases
from thoth_watch.application.ports.engine import TranscriptionEngine
from thoth_watch.application.ports.ledger import Claim, Results, StoredResult
from thoth_watch.application.ports.publishing import TranscriptCache
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.errors import TranscribedElsewhere
from thoth_watch.domain.file_options import FileOptions

Key = tuple[str, str]  # sha256 of the bytes, fingerprint of engine and options


def fingerprint_of(
    engine: TranscriptionEngine, file_options: FileOptions, *, speakers: SpeakerDiarization | None
) -> str:
    """Return the engine's fingerprint combined with the file's own options."""
    parts = [file_options.language or "auto", file_options.task, f"vad-{file_options.vad}"]
    if file_options.channels != Channels.MIX:
        parts.append(file_options.channels)
    if file_options.diarize and speakers is not None:
        parts.append(speakers.fingerprint)
    if file_options.prompt is not None:
        parts.append(sha256(file_options.prompt.encode()).hexdigest()[:16])
    return ":".join((engine.fingerprint, *parts))


class KnownResults:
    """Looks up results: the ledger first, then the cache of machines that share no ledger."""

    def __init__(
        self,
        ledger: Results,
        *,
        leases: Leases | None = None,
        cache: TranscriptCache | None = None,
    ) -> None:
        """leases: required if several workers use the ledger at the same time."""
        self.ledger, self._leases, self._cache = ledger, leases, cache

    def find_missing(self, keys: Collection[Key]) -> set[Key]:
        """Return those keys that the ledger has no transcript for, with a single query."""
        return set(keys) - self.ledger.find_existing_results(keys)

    def find(
        self, claim: Claim, sha256: str, fingerprint: str, *, is_new: bool = False
    ) -> StoredResult | None:
        """Return an earlier transcript of the same bytes, engine and options; None: transcribe the file.

        is_new: the ledger was just queried and had none. Raises TranscribedElsewhere while another
        worker transcribes the same audio.
        """
        found = None if is_new else self.ledger.find_result(sha256, fingerprint)
        if found is not None:
            return found
        if self._leases is not None:
            if not self._leases.may_transcribe(claim, sha256, fingerprint):
                raise TranscribedElsewhere
            # another worker may have finished since the first query
            found = self.ledger.find_result(sha256, fingerprint)
        if found is None and self._cache is not None:
            found = self._cache.find(sha256, fingerprint)
        return found

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """Share a new result, which is already in the ledger, through the cache."""
        if self._cache is not None:
            self._cache.store(sha256, fingerprint, result)
