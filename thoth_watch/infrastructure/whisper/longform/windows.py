"""Cut a recording of any length into windows of at most 30 s, at quiet places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.speech import SpeechSpans
from thoth_watch.infrastructure.whisper.decoding.segments import TokenSpan, cut_at_timestamps

FloatArray = npt.NDArray[np.float32]
Spans = Sequence[tuple[int, int]]  # [start, stop) in samples, in time order

SEARCH_S = 8.0  # end of a full window that is searched for a quiet place to cut
FRAME = SAMPLE_RATE_HZ // 50  # 320: samples per energy measurement, 20 ms
QUIET_FRAMES = 12  # length of a quiet place: 0.24 s
PAD_S = 0.4  # padding around speech, whose first and last phonemes are weak
# A span of speech that does not fit into a window is cut if it starts in this first share of the
# window; if it starts later, it begins the next window.
MIN_FILL = 0.25
LONGEST_PAUSE_S = 4.0  # Whisper may ignore speech in a window after a longer pause


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a recording that the model processes at once."""

    start: int  # samples from the start of the recording
    samples: FloatArray  # shape (n_samples,), 16 kHz mono; a view of the recording

    @property
    def stop(self) -> int:
        """Return the end, exclusive, in samples from the start of the recording."""
        return self.start + len(self.samples)

    @property
    def offset_s(self) -> float:
        """Return the start in seconds from the start of the recording."""
        return self.start / SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Return the seconds of audio, without padding."""
        return len(self.samples) / SAMPLE_RATE_HZ

    def recording_features(self) -> Tensor | None:
        """Return the features if they depend on the whole recording; None: they depend on the samples alone.

        float32, shape (n_mels, n_frames), of the model's full length.
        """
        return None

    def cut_tokens(
        self,
        tokens: Sequence[int],
        *,
        timestamp_begin: int,
        step_s: float,
        speech: SpeechSpans | None,  # noqa: ARG002 - independent windows do not move
    ) -> tuple[list[TokenSpan], float]:
        """Cut the window's tokens at their timestamps; return the spans and the advance.

        The advance is the seconds from this window's start to the next one's. timestamp_begin: the
        token of 0.00 s. step_s: seconds between timestamps. speech: of the recording, if it was detected.
        """
        spans = cut_at_timestamps(
            tokens, timestamp_begin=timestamp_begin, step_s=step_s, window_s=self.duration_s
        )
        return spans, self.duration_s


def cut_windows(
    samples: Any, *, window_samples: int, speech: SpeechSpans | None = None
) -> Iterator[Window]:
    """Cut a waveform into windows of at most `window_samples`, without losing or repeating samples.

    samples: float32, shape (n_samples,), 16 kHz mono; a memory map is read window by window.
    speech: spans of speech in seconds; None: all of the waveform is used. Silence between windows and
    every pause longer than `LONGEST_PAUSE_S` are skipped. A recording that has no such pause and fits
    into one window becomes one window; a recording without speech has none.
    Yields windows in time order, none for an empty waveform. Each cut except the last is between two
    spans of speech, or in the middle of the quietest quarter of a second of the window's last `SEARCH_S`.
    """
    total = len(samples)
    groups = [] if speech is None else split_at_long_pauses(speech)
    if speech is None or (len(groups) == 1 and total <= window_samples):
        padded_groups = [[(0, total)]] if total else []
    else:
        padded_groups = [_pad_spans(group, total) for group in groups]
    for spans in padded_groups:
        yield from _cut_spans(samples, spans, window_samples)


def split_at_long_pauses(speech: SpeechSpans) -> list[SpeechSpans]:
    """Group spans of speech so that no pause in a group is longer than `LONGEST_PAUSE_S`."""
    groups: list[SpeechSpans] = []
    for start, end in speech:
        if groups and start - groups[-1][-1][1] <= LONGEST_PAUSE_S:
            groups[-1] += ((start, end),)
        else:
            groups.append(((start, end),))
    return groups


def _cut_spans(samples: Any, spans: Spans, window_samples: int) -> Iterator[Window]:
    """Yield the windows of a group of spans."""
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
    """Return spans in samples with `PAD_S` on both sides, merging those that touch."""
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
    """Return the number of samples at a window's end that are searched for a quiet place."""
    return min(int(SEARCH_S * SAMPLE_RATE_HZ), window_samples // 2)


def find_quiet_cut(samples: Any, *, start: int, limit: int) -> int:
    """Return the sample in (start, limit] before which to cut: in the latest of the quietest places."""
    n_frames = _search_length(limit - start) // FRAME
    if n_frames < QUIET_FRAMES:
        return limit
    first = limit - n_frames * FRAME
    frames = np.asarray(samples[first:limit], dtype=np.float64).reshape(n_frames, FRAME)
    energy = np.cumsum(np.concatenate(([0.0], np.einsum("ij,ij->i", frames, frames))))
    sums = energy[QUIET_FRAMES:] - energy[:-QUIET_FRAMES]
    latest = len(sums) - 1 - int(np.argmin(sums[::-1]))
    return first + (latest + QUIET_FRAMES // 2) * FRAME
