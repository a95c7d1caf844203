"""Detects that a copy is finished: scans find the file unchanged for long enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.audio import AudioFile, Signature

EMPTY_TIMEOUT_S = 3600.0  # an empty file may be a browser's placeholder for a download


@dataclass(frozen=True, slots=True)
class _Observation:
    signature: Signature
    first_s: float


class SettleTracker:
    """Tracks how long each unsettled file has been unchanged, in seconds of a monotonic clock."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._observations: dict[Path, _Observation] = {}

    def update(self, files: Iterable[AudioFile], *, now_s: float) -> list[AudioFile]:
        """Return the settled files: equal size, times and inode in two scans, `settle_s` apart.

        An empty file never settles. Files that are settled or no longer listed are forgotten.
        """
        settled = []
        seen: dict[Path, _Observation] = {}
        for file in files:
            if file.signature.size_bytes == 0:
                continue
            before = self._observations.get(file.path)
            if before is None or before.signature != file.signature:
                seen[file.path] = _Observation(file.signature, now_s)
            elif now_s - before.first_s >= self._settle_s:
                settled.append(file)
            else:
                seen[file.path] = before
        self._observations = seen
        return settled

    def restart(self, file: AudioFile, *, now_s: float) -> None:
        """Restart the settle time of a file that is not settled after all."""
        self._observations[file.path] = _Observation(file.signature, now_s)

    def next_s(self) -> float | None:
        """Return when the next file may settle, in monotonic seconds; None if no file is unsettled."""
        return min(
            (seen.first_s + self._settle_s for seen in self._observations.values()), default=None
        )
