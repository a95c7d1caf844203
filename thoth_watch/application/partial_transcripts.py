"""Keeps what was heard of long recordings, so that a killed attempt is gone on with."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports import Clock, Ledger, Recording
from thoth_watch.domain.transcript import PartialTranscript

LONG_S = 600.0  # shorter ones are simply transcribed again
SAVE_INTERVAL_S = 60.0  # of computing: what a kill costs at most

_Part = tuple[int, str]  # a recording by its key, and which of its channels; "": it has none


class PartialTranscripts:
    """One batch's long recordings: each is told where to go on, and tells how far it has come.

    One that is heard by channels goes on with each of them where that one had come to.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._saved_at_s: dict[_Part, float] = {}
        self._unsaved: dict[_Part, tuple[str, str, PartialTranscript]] = {}  # not written yet

    def resume(self, recording: Recording, fingerprint: str) -> Recording:
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
        self, part_recording: Recording, recording: Recording, name: str, fingerprint: str
    ) -> Recording:
        part, sha256 = (recording.key, name), recording.sha256
        self._saved_at_s[part] = self._clock.monotonic_s()

        def save_partial(partial: PartialTranscript) -> None:
            self._unsaved[part] = (sha256, fingerprint, partial)
            if self._clock.monotonic_s() - self._saved_at_s[part] >= SAVE_INTERVAL_S:
                self._save(part)

        partial = self._ledger.find_partial_transcript(sha256, fingerprint)
        return replace(part_recording, partial=partial, save_partial=save_partial)

    def discard(self, key: int) -> None:
        """It has a whole transcript, or failed: nothing of it is to be written any more."""
        for part in [part for part in self._unsaved if part[0] == key]:
            del self._unsaved[part]

    def save_all(self) -> None:
        """Write how far the unfinished ones have come: the work is about to stop."""
        for part in list(self._unsaved):
            self._save(part)

    def _save(self, part: _Part) -> None:
        sha256, fingerprint, partial = self._unsaved.pop(part)
        self._ledger.save_partial_transcript(sha256, fingerprint, partial, now=self._clock.now())
        self._saved_at_s[part] = self._clock.monotonic_s()
