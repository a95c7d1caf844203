"""Cuts a recording of any length into windows that Whisper can take, at quiet places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.speech import SpeechSpans

FloatArray = npt.NDArray[np.float32]
Spans = Sequence[tuple[int, int]]  # [start, stop) in samples, in time order

SEARCH_S = 8.0  # the end of each full window in which a quiet place is looked for
FRAME = SAMPLE_RATE_HZ // 50  # 320: energy is measured every 20 ms
QUIET_FRAMES = 12  # a quiet place is 0.24 s long
PAD_S = 0.4  # heard before and after speech: its first and last sounds are weak
MIN_FILL = 0.25  # of a window: with less in it, it ends in the midst of the speech that comes next
LONGEST_PAUSE_S = 4.0  # in a window; what follows a longer one, Whisper may take for no speech


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


def cut_windows(
    samples: Any, *, window_samples: int, speech: SpeechSpans | None = None
) -> Iterator[Window]:
    """Cut a waveform into windows of at most `window_samples`, without losing or doubling a sample.

    samples: float32, shape (n_samples,), 16 kHz mono; a memory map is read window by window.
    speech: where somebody speaks; what lies between windows is skipped, as is every pause of more
    than `LONGEST_PAUSE_S`. A recording without one that fits into one window is one; it is none
    where nobody speaks.
    Yields windows in time order, none for an empty waveform. Each cut but the last lies between two
    stretches of speech, or in the middle of the quietest quarter of a second of the window's last
    `SEARCH_S`.
    """
    total = len(samples)
    parts = [] if speech is None else split_at_long_pauses(speech)
    if speech is None or (len(parts) == 1 and total <= window_samples):
        groups = [[(0, total)]] if total else []
    else:
        groups = [_pad_spans(part, total) for part in parts]
    for spans in groups:
        yield from _cut(samples, spans, window_samples)


def split_at_long_pauses(speech: SpeechSpans) -> list[SpeechSpans]:
    """Stretches of speech in groups, in which no pause is longer than `LONGEST_PAUSE_S`."""
    groups: list[SpeechSpans] = []
    for start, end in speech:
        if groups and start - groups[-1][-1][1] <= LONGEST_PAUSE_S:
            groups[-1] += ((start, end),)
        else:
            groups.append(((start, end),))
    return groups


def _cut(samples: Any, spans: Spans, window_samples: int) -> Iterator[Window]:
    """Windows over spans of samples that lie near each other."""
    stop, index = 0, 0
    while index < len(spans):
        start = max(stop, spans[index][0])
        limit = start + window_samples
        first = index
        while index < len(spans) and spans[index][1] <= limit:
            index += 1
        is_early = index < len(spans) and spans[index][0] < start + int(MIN_FILL * window_samples)
        fits_none = index == first
        stop = spans[index - 1][1]
        if is_early or fits_none:
            stop = find_quiet_cut(samples, start=start, limit=limit)
        yield Window(start, samples[start:stop])


def _pad_spans(speech: SpeechSpans, total: int) -> list[tuple[int, int]]:
    """Stretches in samples with `PAD_S` on both sides, those that touch joined."""
    spans: list[tuple[int, int]] = []
    for start_s, end_s in speech:
        start = max(0, int((start_s - PAD_S) * SAMPLE_RATE_HZ))
        stop = min(total, int((end_s + PAD_S) * SAMPLE_RATE_HZ))
        if spans and start <= spans[-1][1]:
            start = spans.pop()[0]
        if start < stop:
            spans.append((start, stop))
    return spans


def _search_length(window_samples: int) -> int:
    """Samples at a window's end in which a quiet place is looked for."""
    return min(int(SEARCH_S * SAMPLE_RATE_HZ), window_samples // 2)


def find_quiet_cut(samples: Any, *, start: int, limit: int) -> int:
    """The sample in (start, limit] before which to cut: the latest of the quietest places."""
    n_frames = _search_length(limit - start) // FRAME
    if n_frames < QUIET_FRAMES:
        return limit
    first = limit - n_frames * FRAME
    frames = np.asarray(samples[first:limit], dtype=np.float64).reshape(n_frames, FRAME)
    energy = np.cumsum(np.concatenate(([0.0], np.einsum("ij,ij->i", frames, frames))))
    spots = energy[QUIET_FRAMES:] - energy[:-QUIET_FRAMES]
    latest = len(spots) - 1 - int(np.argmin(spots[::-1]))
    return first + (latest + QUIET_FRAMES // 2) * FRAME
