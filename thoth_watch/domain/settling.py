"""When a copy is finished: the same file, seen at least twice, for long enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.audio import AudioFile, Signature

EMPTY_TIMEOUT_S = 3600.0  # a zero-byte name may be a browser's placeholder for a download


@dataclass(frozen=True, slots=True)
class _Observation:
    signature: Signature
    first_s: float


class SettleTracker:
    """Remembers how long each unsettled file has been untouched, in a monotonic clock's seconds."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._observations: dict[Path, _Observation] = {}

    def update(self, files: Iterable[AudioFile], *, now_s: float) -> list[AudioFile]:
        """The files that are settled now: equal size, times and inode over two looks and `settle_s`.

        An empty file never is. A file that is settled, or no longer listed, is forgotten.
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
        """It is not settled after all: its time begins anew."""
        self._observations[file.path] = _Observation(file.signature, now_s)

    def next_s(self) -> float | None:
        """When the next unsettled file may be settled, monotonic seconds; None if there is none."""
        return min(
            (look.first_s + self._settle_s for look in self._observations.values()), default=None
        )
