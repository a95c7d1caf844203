"""Sequential long-form decoding: each window starts where the previous window's last segment ended."""

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
from thoth_watch.infrastructure.whisper.decoding.segments import TokenSpan, cut_sequentially
from thoth_watch.infrastructure.whisper.longform.windows import (
    PAD_S,
    Spans,
    Window,
    find_quiet_cut,
    split_at_long_pauses,
)

HOP = 160  # samples per frame
FRAMES_PER_CHUNK = 3000  # frames per feature computation: 30 s
FRAMES_PER_STEP = 2  # frames per timestamp step: 0.02 s
MAX_SKIPPED_SPEECH_S = 1.0  # more speech than this after a window's last words is decoded again
MIN_ADVANCE_S = 0.4  # ensures progress when a window's timestamps are wrong
_SILENCE = -10.0  # floor of the power spectrum, log10
_DYNAMIC_RANGE = 8.0  # floor below the loudest frame of the recording, log10: 80 dB


class RecordingMels:
    """Log-mels of a long recording, computed in slices with the same result as over the whole.

    Whisper clamps features at 80 dB below the recording's loudest frame, so the constructor computes
    the whole recording once to find that peak.
    """

    def __init__(self, extractor: Any, samples: Any) -> None:
        """Find the recording's peak.

        samples: float32, shape (n_samples,), 16 kHz mono; a memory map is read chunk by chunk.
        """
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
        """Return the features of `n_frames` frames from `first` on, float32, shape (n_mels, n_frames).

        Frames after the first `n_audio_frames` are padded with silence, frames after the recording's
        end with 0, as in transformers.
        """
        log_mel = self._log_mel(
            first, n_frames if n_audio_frames is None else n_audio_frames
        ).clamp(min=self._peak - _DYNAMIC_RANGE)
        features = (log_mel + 4.0) / 4.0
        is_clipped = first + features.shape[1] < self.n_frames
        silence = (max(self._peak - _DYNAMIC_RANGE, _SILENCE) + 4.0) / 4.0
        padding = (0, n_frames - features.shape[1])
        return torch.nn.functional.pad(features, padding, value=silence if is_clipped else 0.0)

    def _log_mel(self, first: int, n_frames: int) -> Tensor:
        n_frames = min(n_frames, self.n_frames - first)
        half = self._extractor.n_fft // 2
        start, stop = first * HOP - half, (first + n_frames - 1) * HOP + half
        total = len(self._samples)
        part = np.array(self._samples[max(0, start) : min(total, stop)], dtype=np.float32)
        before, after = max(0, -start), max(0, stop - total)
        if before or after:  # reflection padding, as in torch.stft
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
    """A window whose features are a slice of the whole recording's features."""

    mels: RecordingMels
    n_frames: int  # of a full window

    def recording_features(self) -> Tensor:
        """Return the features, float32, shape (n_mels, n_frames)."""
        n_audio_frames = min(self.n_frames, -(-len(self.samples) // HOP))
        return self.mels.slice_features(
            self.start // HOP, self.n_frames, n_audio_frames=n_audio_frames
        )

    def cut_tokens(
        self,
        tokens: Sequence[int],
        *,
        timestamp_begin: int,
        step_s: float,
        speech: SpeechSpans | None,
    ) -> tuple[list[TokenSpan], float]:
        """Cut the window's tokens, without an unfinished last span; return the spans and the advance."""
        spans, advance_s = cut_sequentially(
            tokens, timestamp_begin=timestamp_begin, step_s=step_s, window_s=self.duration_s
        )
        if speech is not None and spans:
            advance_s = choose_advance(spans[-1].end, advance_s, window=self, speech=speech)
        return spans, advance_s


class SequentialWindows:
    """A window source in which each window starts where the result of the previous one ends."""

    def __init__(
        self,
        extractor: Any,
        samples: Any,
        *,
        window_samples: int | None = None,
        spans: Spans | None = None,
        speech: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        """Start at the first speech of the first span.

        spans: the spans to transcribe, in samples and in time order; None: the whole recording. speech:
        spans of speech in seconds; the silence between them is skipped. window_samples: maximum window
        length; if it is shorter than the model's, windows end at a quiet place. No window crosses a
        long pause or the end of a span, as with openai/whisper's clip_timestamps.
        """
        self._samples, self._extractor, self._speech = samples, extractor, speech
        self._window_samples = window_samples or extractor.n_samples
        self._speech_groups = split_at_long_pauses(tuple(speech or ()))
        self._mels: RecordingMels | None = None
        end = len(samples) // HOP * HOP  # end of the last complete frame
        spans = ((0, end),) if spans is None else spans
        self._spans = deque((start, min(stop, end)) for start, stop in spans)
        self._seek = 0
        self._is_waiting = False
        self._seek_next()

    @property
    def is_exhausted(self) -> bool:
        """Return True if less than a frame of audio is left."""
        return not self._is_waiting and not self._spans

    def next(self) -> Window | None:
        """Return the next window; None at the end, or until `advance` is called for the last one."""
        if self._is_waiting or self.is_exhausted:
            return None
        if self._mels is None:
            self._mels = RecordingMels(self._extractor, self._samples)
        self._is_waiting = True
        samples = self._samples[self._seek : self._window_end()]
        n_frames = self._extractor.n_samples // HOP
        return SequentialWindow(self._seek, samples, self._mels, n_frames)

    def advance(self, n_samples: int, window: Window) -> int:  # noqa: ARG002 - it is the last one
        """Move `n_samples` from the last window's start; return the sample where the next one starts.

        If n_samples is 0 or longer than the window, moves to the window's end, so that it always
        progresses.
        """
        length = self._window_end() - self._seek
        self._seek += n_samples if 0 < n_samples <= length else length
        self._is_waiting = False
        self._seek_next()
        return self._seek

    def _window_end(self) -> int:
        """Return the end, exclusive, of the window that starts at the current position."""
        stop = self._spans[0][1]
        if stop == len(self._samples) // HOP * HOP:
            stop = len(self._samples)  # the last window includes the incomplete last frame
        limit = self._seek + self._window_samples
        end: int = min(limit, stop)
        if limit < stop and self._window_samples < self._extractor.n_samples:
            end = find_quiet_cut(self._samples, start=self._seek, limit=limit)
        seek_s = self._seek / SAMPLE_RATE_HZ
        group_end_s = next(
            (group[-1][1] for group in self._speech_groups if group[-1][1] > seek_s), None
        )
        if group_end_s is None:
            return end
        frames = math.ceil((group_end_s + PAD_S) * SAMPLE_RATE_HZ / HOP)
        return min(end, frames * HOP)

    def _seek_next(self) -> None:
        """Move to the next audio that is in a span and in speech."""
        while self._spans:
            start, stop = self._spans[0]
            self._seek = self._skip_silence(max(start, self._seek))
            if stop - self._seek >= HOP:
                return
            self._spans.popleft()

    def _skip_silence(self, seek: int) -> int:
        if self._speech is None:
            return seek
        seek_s = seek / SAMPLE_RATE_HZ
        start_s = next((start for start, end in self._speech if end > seek_s), None)
        if start_s is None:
            return len(self._samples)
        step = FRAMES_PER_STEP * HOP
        return seek if start_s <= seek_s else int(start_s * SAMPLE_RATE_HZ) // step * step


def choose_advance(
    last_word_end_s: float, advance_s: float, *, window: Window, speech: SpeechSpans
) -> float:
    """Return the seconds from a window's start to the next window's start.

    last_word_end_s: end of the window's last words. advance_s: Whisper's own advance, which assumes
    silence after the last timestamp. If more than MAX_SKIPPED_SPEECH_S of speech would be skipped
    (timestamps are less precise than that), the next window starts at the end of the last words.
    """
    since_s, until_s = window.offset_s + last_word_end_s, window.offset_s + advance_s
    is_silence = total_s(clip_spans(speech, since_s, until_s)) <= MAX_SKIPPED_SPEECH_S
    return advance_s if is_silence or last_word_end_s < MIN_ADVANCE_S else last_word_end_s
