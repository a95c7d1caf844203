"""Finds existing transcripts of the same audio: in the ledger, in the shared cache, or in progress elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from thoth_watch.application.ports.dispatch import Leases
from thoth_watch.application.ports.ledger import Claim, Results, StoredResult
from thoth_watch.application.ports.publishing import TranscriptCache
from thoth_watch.domain.errors import TranscribedElsewhere

Key = tuple[str, str]  # sha256 of the bytes, fingerprint of engine and options


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
        self._ledger, self._leases, self._cache = ledger, leases, cache

    def find_missing(self, keys: Collection[Key]) -> set[Key]:
        """Return those keys that the ledger has no transcript for, with a single query."""
        return set(keys) - self._ledger.find_existing_results(keys)

    def find(
        self, claim: Claim, sha256: str, fingerprint: str, *, is_new: bool = False
    ) -> StoredResult | None:
        """Return an earlier transcript of the same bytes, engine and options; None: transcribe the file.

        is_new: the ledger was just queried and had none. Raises TranscribedElsewhere while another
        worker transcribes the same audio.
        """
        found = None if is_new else self._ledger.find_result(sha256, fingerprint)
        if found is not None:
            return found
        if self._leases is not None:
            if not self._leases.may_transcribe(claim, sha256, fingerprint):
                raise TranscribedElsewhere
            # another worker may have finished since the first query
            found = self._ledger.find_result(sha256, fingerprint)
        if found is None and self._cache is not None:
            found = self._cache.find(sha256, fingerprint)
        return found

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """Share a new result, which is already in the ledger, through the cache."""
        if self._cache is not None:
            self._cache.store(sha256, fingerprint, result)
