"""Cuts a recording of any length into windows that Whisper can take, at quiet places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thoth_watch.domain.audio import SAMPLE_RATE_HZ

FloatArray = npt.NDArray[np.float32]

SEARCH_S = 8.0  # the end of each full window in which a quiet place is looked for
FRAME = SAMPLE_RATE_HZ // 50  # 320: energy is measured every 20 ms
SPOT_FRAMES = 12  # a quiet place is 0.24 s long


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one recording: where it starts, and its samples (a view, 16 kHz mono)."""

    start: int  # samples from the start of the recording
    samples: FloatArray

    @property
    def stop(self) -> int:
        """The sample of the recording after its last."""
        return self.start + len(self.samples)

    @property
    def offset_s(self) -> float:
        """Seconds from the start of the recording."""
        return self.start / SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Seconds of real sound."""
        return len(self.samples) / SAMPLE_RATE_HZ


def cut_windows(samples: Any, *, window_samples: int) -> Iterator[Window]:
    """Cut a waveform into windows of at most `window_samples`, without losing or doubling a sample.

    samples: float32, shape (n_samples,), 16 kHz mono; a memory map is read window by window.
    Yields windows in time order, none for an empty waveform. Each cut but the last lies in the
    middle of the quietest quarter of a second of the window's last `SEARCH_S`.
    """
    start, total = 0, len(samples)
    while total - start > window_samples:
        stop = _quiet_cut(samples, start=start, limit=start + window_samples)
        yield Window(start, samples[start:stop])
        start = stop
    if start < total:
        yield Window(start, samples[start:total])


def _quiet_cut(samples: Any, *, start: int, limit: int) -> int:
    """The sample in (start, limit] before which to cut: the latest of the quietest places."""
    search = min(int(SEARCH_S * SAMPLE_RATE_HZ), (limit - start) // 2)
    n_frames = search // FRAME
    if n_frames < SPOT_FRAMES:
        return limit
    first = limit - n_frames * FRAME
    frames = np.asarray(samples[first:limit], dtype=np.float64).reshape(n_frames, FRAME)
    energy = np.cumsum(np.concatenate(([0.0], np.einsum("ij,ij->i", frames, frames))))
    spots = energy[SPOT_FRAMES:] - energy[:-SPOT_FRAMES]
    latest = len(spots) - 1 - int(np.argmin(spots[::-1]))
    return first + (latest + SPOT_FRAMES // 2) * FRAME
