"""Keeps what was heard of long recordings, so that a killed attempt is gone on with."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports import Clock, Ledger, Recording
from thoth_watch.domain.transcript import SoFar

LONG_S = 600.0  # shorter ones are simply transcribed again
KEEP_EVERY_S = 60.0  # of computing: what a kill costs at most


class LongRecordings:
    """One batch's long recordings: each is told where to go on, and tells how far it has come."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._kept_at_s: dict[int, float] = {}
        self._newest: dict[int, tuple[str, str, SoFar]] = {}  # not written yet

    def take_up(self, recording: Recording, fingerprint: str) -> Recording:
        """The recording, with what an earlier attempt heard of it."""
        if recording.duration_s < LONG_S:
            return recording
        key, sha256 = recording.key, recording.sha256
        self._kept_at_s[key] = self._clock.monotonic_s()

        def keep(so_far: SoFar) -> None:
            self._newest[key] = (sha256, fingerprint, so_far)
            if self._clock.monotonic_s() - self._kept_at_s[key] >= KEEP_EVERY_S:
                self._write(key)

        so_far = self._ledger.find_so_far(sha256, fingerprint)
        return replace(recording, so_far=so_far, keep=keep)

    def finished(self, key: int) -> None:
        """It has a whole transcript, or failed: nothing of it is to be written any more."""
        self._newest.pop(key, None)

    def write_all(self) -> None:
        """Write how far the unfinished ones have come: the work is about to stop."""
        for key in list(self._newest):
            self._write(key)

    def _write(self, key: int) -> None:
        sha256, fingerprint, so_far = self._newest.pop(key)
        self._ledger.keep_so_far(sha256, fingerprint, so_far, now=self._clock.now())
        self._kept_at_s[key] = self._clock.monotonic_s()
