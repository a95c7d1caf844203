"""Whether a sound was transcribed before: here, by another machine, or by another worker just now."""

from __future__ import annotations

from collections.abc import Collection

from thoth_watch.application.ports import Claim, Leases, Ledger, StoredResult, TranscriptCache
from thoth_watch.domain.errors import TranscribedElsewhere

Key = tuple[str, str]  # sha256 of the bytes, fingerprint of engine and options


class KnownResults:
    """One look-up: the ledger's own results first, then those of machines that share no ledger."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        leases: Leases | None = None,
        cache: TranscriptCache | None = None,
    ) -> None:
        """leases: of a ledger on which several workers work at once."""
        self._ledger, self._leases, self._cache = ledger, leases, cache

    def find_missing(self, keys: Collection[Key]) -> set[Key]:
        """Those of many (sha256, fingerprint) that the ledger has no transcript of, asked for at once."""
        return set(keys) - self._ledger.find_existing_results(keys)

    def find(
        self, claim: Claim, sha256: str, fingerprint: str, *, is_new: bool = False
    ) -> StoredResult | None:
        """An earlier transcript of the same bytes by the same engine and options; None: transcribe it.

        is_new: the ledger had none a moment ago. Raises HeardElsewhere while another worker
        transcribes it: there will be one soon.
        """
        found = None if is_new else self._ledger.find_result(sha256, fingerprint)
        if found is not None:
            return found
        if self._leases is not None:
            if not self._leases.may_transcribe(claim, sha256, fingerprint):
                raise TranscribedElsewhere
            found = self._ledger.find_result(sha256, fingerprint)  # it may have ended in between
        if found is None and self._cache is not None:
            found = self._cache.find(sha256, fingerprint)
        return found

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """A new one, which the ledger has already."""
        if self._cache is not None:
            self._cache.store(sha256, fingerprint, result)
