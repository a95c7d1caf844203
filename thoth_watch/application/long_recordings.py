"""Keeps what was heard of long recordings, so that a killed attempt is gone on with."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports import Clock, Ledger, Recording
from thoth_watch.domain.transcript import SoFar

LONG_S = 600.0  # shorter ones are simply transcribed again
KEEP_EVERY_S = 60.0  # of computing: what a kill costs at most

_Part = tuple[int, str]  # a recording by its key, and which of its channels; "": it has none


class LongRecordings:
    """One batch's long recordings: each is told where to go on, and tells how far it has come.

    One that is heard by channels goes on with each of them where that one had come to.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._kept_at_s: dict[_Part, float] = {}
        self._newest: dict[_Part, tuple[str, str, SoFar]] = {}  # not written yet

    def take_up(self, recording: Recording, fingerprint: str) -> Recording:
        """The recording, or each of its channels, with what an earlier attempt heard of it."""
        if recording.duration_s < LONG_S:
            return recording
        if not recording.channels:
            return self._part(recording, recording, "", fingerprint)
        channels = tuple(
            (name, self._part(channel, recording, name, f"{fingerprint}/{name}"))
            for name, channel in recording.channels
        )
        return replace(recording, channels=channels)

    def _part(
        self, heard: Recording, recording: Recording, name: str, fingerprint: str
    ) -> Recording:
        part, sha256 = (recording.key, name), recording.sha256
        self._kept_at_s[part] = self._clock.monotonic_s()

        def keep(so_far: SoFar) -> None:
            self._newest[part] = (sha256, fingerprint, so_far)
            if self._clock.monotonic_s() - self._kept_at_s[part] >= KEEP_EVERY_S:
                self._write(part)

        so_far = self._ledger.find_so_far(sha256, fingerprint)
        return replace(heard, so_far=so_far, keep=keep)

    def finished(self, key: int) -> None:
        """It has a whole transcript, or failed: nothing of it is to be written any more."""
        for part in [part for part in self._newest if part[0] == key]:
            del self._newest[part]

    def write_all(self) -> None:
        """Write how far the unfinished ones have come: the work is about to stop."""
        for part in list(self._newest):
            self._write(part)

    def _write(self, part: _Part) -> None:
        sha256, fingerprint, so_far = self._newest.pop(part)
        self._ledger.keep_so_far(sha256, fingerprint, so_far, now=self._clock.now())
        self._kept_at_s[part] = self._clock.monotonic_s()
