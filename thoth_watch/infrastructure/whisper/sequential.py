"""Whisper's own way through a long recording: each window starts where the one before was sure to end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.speech import SpeechSpans, clip_spans, total_s
from thoth_watch.infrastructure.whisper.windows import (
    PAD_S,
    Spans,
    Window,
    find_quiet_cut,
    split_at_long_pauses,
)

HOP = 160  # samples a frame
FRAMES_PER_CHUNK = 3000  # of the features that are computed together: 30 s
FRAMES_PER_STEP = 2  # of a timestamp: 0.02 s
MAX_SKIPPED_SPEECH_S = 1.0  # so much speech behind a window's last words is heard again
MIN_ADVANCE_S = 0.4  # so that a window whose times are wrong cannot be heard for ever
_SILENCE = -10.0  # log10 of the least power that is told from none
_DYNAMIC_RANGE = 8.0  # log10 below the loudest frame of the whole recording


class RecordingMels:
    """Log-mels of a recording a stretch at a time, as transformers computes them over the whole.

    Whisper cuts off what is 80 dB below the loudest frame of all, so the whole is looked at first.
    """

    def __init__(self, extractor: Any, samples: Any) -> None:
        """samples: float32, shape (n_samples,), 16 kHz mono; a memory map is read piece by piece."""
        self._extractor, self._samples = extractor, samples
        self._window = torch.hann_window(extractor.n_fft)
        self._filters = torch.from_numpy(extractor.mel_filters).to(torch.float32).T
        self.n_frames = len(samples) // HOP
        starts = range(0, self.n_frames, FRAMES_PER_CHUNK)
        self._peak = max(
            (float(self._log_mel(s, FRAMES_PER_CHUNK).max()) for s in starts), default=0
        )

    def slice_features(
        self, first: int, n_frames: int, *, n_audio_frames: int | None = None
    ) -> Tensor:
        """Features of the frames from `first` on, float32, shape (n_mels, n_frames).

        Frames after the first `n_audio_frames` are those of silence, those after the recording's end 0, as
        transformers pads them.
        """
        log_mel = self._log_mel(
            first, n_frames if n_audio_frames is None else n_audio_frames
        ).clamp(min=self._peak - _DYNAMIC_RANGE)
        features = (log_mel + 4.0) / 4.0
        is_clipped = first + features.shape[1] < self.n_frames
        silence = (max(self._peak - _DYNAMIC_RANGE, _SILENCE) + 4.0) / 4.0
        rest = (0, n_frames - features.shape[1])
        return torch.nn.functional.pad(features, rest, value=silence if is_clipped else 0.0)

    def _log_mel(self, first: int, n_frames: int) -> Tensor:
        n_frames = min(n_frames, self.n_frames - first)
        half = self._extractor.n_fft // 2
        start, stop = first * HOP - half, (first + n_frames - 1) * HOP + half
        total = len(self._samples)
        part = np.array(self._samples[max(0, start) : min(total, stop)], dtype=np.float32)
        before, after = max(0, -start), max(0, stop - total)
        if before or after:  # mirrored at the ends, as torch.stft does
            part = np.pad(part, (before, after), mode="reflect")
        spectrum = torch.stft(
            torch.from_numpy(part),
            self._extractor.n_fft,
            HOP,
            window=self._window,
            center=False,
            return_complex=True,
        )
        power = (spectrum.abs() ** 2).contiguous()
        return (self._filters @ power).clamp(min=10**_SILENCE).log10()


@dataclass(frozen=True, slots=True)
class SequentialWindow(Window):
    """A window with the features that it has in its recording."""

    mels: RecordingMels
    n_frames: int  # of a full window

    def features(self) -> Tensor:
        """Shape (n_mels, n_frames)."""
        n_audio_frames = min(self.n_frames, -(-len(self.samples) // HOP))
        return self.mels.slice_features(
            self.start // HOP, self.n_frames, n_audio_frames=n_audio_frames
        )


class SequentialWindows:
    """Where the next window starts: known when the one before has been heard."""

    def __init__(
        self,
        extractor: Any,
        samples: Any,
        *,
        window_samples: int | None = None,
        spans: Spans | None = None,
        speech: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        """spans: what is to be heard, in samples and in time order; None: all. speech: in seconds.

        What lies between is passed over. window_samples: of a window at most; one that is shorter than
        the model's ends at a quiet place. No window reaches over a long pause, as with
        openai/whisper's clip_timestamps, or over the end of a span.
        """
        self._samples, self._extractor, self._speech = samples, extractor, speech
        self._window_samples = window_samples or extractor.n_samples
        self._parts = split_at_long_pauses(tuple(speech or ()))
        self._mels: RecordingMels | None = None
        whole = len(samples) // HOP * HOP  # sound from which frames can be made
        spans = ((0, whole),) if spans is None else spans
        self._spans = deque((start, min(stop, whole)) for start, stop in spans)
        self._seek = 0
        self._is_waiting = False
        self._seek_next()

    @property
    def is_exhausted(self) -> bool:
        """Whether there is no sound left from which a frame could be made."""
        return not self._is_waiting and not self._spans

    def next(self) -> Window | None:
        """The next window, None while the last one has not been heard, or at the end."""
        if self._is_waiting or self.is_exhausted:
            return None
        if self._mels is None:
            self._mels = RecordingMels(self._extractor, self._samples)
        self._is_waiting = True
        samples = self._samples[self._seek : self._window_end()]
        n_frames = self._extractor.n_samples // HOP
        return SequentialWindow(self._seek, samples, self._mels, n_frames)

    def advance(self, n_samples: int, window: Window) -> int:  # noqa: ARG002 - it is the last one
        """Go on so many samples after the last window's start; 0 would never end: all of it then."""
        whole = self._window_end() - self._seek
        self._seek += n_samples if 0 < n_samples <= whole else whole
        self._is_waiting = False
        self._seek_next()
        return self._seek

    def _window_end(self) -> int:
        """The sample after the last one of a window that starts now."""
        stop = self._spans[0][1]
        if stop == len(self._samples) // HOP * HOP:
            stop = len(self._samples)  # the rest, less than a frame, belongs to the last window
        limit = self._seek + self._window_samples
        end: int = min(limit, stop)
        if limit < stop and self._window_samples < self._extractor.n_samples:
            end = find_quiet_cut(self._samples, start=self._seek, limit=limit)
        now_s = self._seek / SAMPLE_RATE_HZ
        part_s = next((part[-1][1] for part in self._parts if part[-1][1] > now_s), None)
        if part_s is None:
            return end
        frames = math.ceil((part_s + PAD_S) * SAMPLE_RATE_HZ / HOP)
        return min(end, frames * HOP)

    def _seek_next(self) -> None:
        """To the next sound that is to be heard: in a span, and where somebody speaks."""
        while self._spans:
            start, stop = self._spans[0]
            self._seek = self._skip_silence(max(start, self._seek))
            if stop - self._seek >= HOP:
                return
            self._spans.popleft()

    def _skip_silence(self, seek: int) -> int:
        if self._speech is None:
            return seek
        now_s = seek / SAMPLE_RATE_HZ
        start_s = next((start for start, end in self._speech if end > now_s), None)
        if start_s is None:
            return len(self._samples)
        step = FRAMES_PER_STEP * HOP
        return seek if start_s <= now_s else int(start_s * SAMPLE_RATE_HZ) // step * step


def choose_advance(
    last_word_end_s: float, advance_s: float, *, window: Window, speech: SpeechSpans
) -> float:
    """How many seconds after a window's start the next one starts.

    words_end_s: where its last words end. advance_s: as Whisper has it, for whom nobody speaks behind
    a last timestamp. Where somebody does, for longer than times are off, it goes on from there.
    """
    since_s, until_s = window.offset_s + last_word_end_s, window.offset_s + advance_s
    is_heard = total_s(clip_spans(speech, since_s, until_s)) <= MAX_SKIPPED_SPEECH_S
    return advance_s if is_heard or last_word_end_s < MIN_ADVANCE_S else last_word_end_s
