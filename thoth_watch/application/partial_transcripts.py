"""Saves the progress of long recordings, so that an interrupted transcription can resume."""

from __future__ import annotations

from dataclasses import replace

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import Results
from thoth_watch.domain.transcript import PartialTranscript

LONG_S = 600.0  # shorter recordings are transcribed again from the start
SAVE_INTERVAL_S = 60.0  # of processing: the most that a kill can lose

_Part = tuple[int, str]  # key of the recording, name of the channel ("" if it is not split)


class PartialTranscripts:
    """Resumes a batch's long recordings from saved progress and saves their progress.

    A recording that is split by channel is resumed channel by channel.
    """

    def __init__(self, ledger: Results, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._saved_at_s: dict[_Part, float] = {}
        self._unsaved: dict[_Part, tuple[str, str, PartialTranscript]] = {}  # not written yet

    def resume(self, recording: Recording, fingerprint: str) -> Recording:
        """Return the recording, or each of its channels, with the saved progress of an earlier attempt."""
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
        """Drop the unsaved progress of a recording that was transcribed or has failed."""
        for part in [part for part in self._unsaved if part[0] == key]:
            del self._unsaved[part]

    def save_all(self) -> None:
        """Save the progress of all unfinished recordings before the batch stops."""
        for part in list(self._unsaved):
            self._save(part)

    def _save(self, part: _Part) -> None:
        sha256, fingerprint, partial = self._unsaved.pop(part)
        self._ledger.save_partial_transcript(sha256, fingerprint, partial, now=self._clock.now())
        self._saved_at_s[part] = self._clock.monotonic_s()
