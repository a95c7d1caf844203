"""Augmentation of voice, room and channel on mel power, where it takes only milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.corpus import Recording, Span
from training.mel import N_MELS, FloatArray

_MEL_AXIS = np.linspace(0, 1, N_MELS)
_UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class Speaker:
    """One drawn speaker and channel, applied to one or more utterances of a window.

    stretch: length factor. warp: (80, 80) frequency warp or None. equalizer: log10 gain per mel.
    blur: share of the power that leaks to each neighboring mel. echo: (decay per frame, weight).
    """

    stretch: float = 1.0
    warp: FloatArray | None = None
    equalizer: FloatArray | float = 0.0
    blur: float = 0.0
    echo: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance as it enters a window: power (2 * frames, 80), labels and spans in frames."""

    text: str
    power: FloatArray
    phonemes: npt.NDArray[np.int64]
    spans: list[Span]


def smooth_curve(rng: np.random.Generator, tilt: float, ripple: float) -> npt.NDArray[np.float64]:
    """Return a random smooth curve over the mel axis: a tilt and a few cosines."""
    curve = rng.normal(0, tilt) * (_MEL_AXIS - 0.5) * 2
    for order in range(1, 5):
        phase = rng.uniform(0, 2 * np.pi)
        curve = curve + rng.normal(0, ripple) * np.cos(np.pi * order * _MEL_AXIS + phase)
    return curve


def draw_warps(rng: np.random.Generator, count: int) -> list[FloatArray]:
    """Draw piecewise linear frequency warps: vocal tract length plus formant jitter."""
    warps = []
    knots = np.array([0, 20, 40, 60, 79.0])
    for _ in range(count):
        moved = knots * rng.uniform(0.76, 1.28) + np.r_[0, rng.normal(0, 2.0, 4)]
        moved = np.maximum.accumulate(moved) + np.arange(5) * 1e-3
        xs, ys = moved, knots
        if moved[-1] < N_MELS - 1:
            xs, ys = np.r_[moved, N_MELS - 1], np.r_[knots, N_MELS - 1]
        source = np.clip(np.interp(np.arange(N_MELS), xs, ys), 0, N_MELS - 1)
        low = np.minimum(source.astype(int), N_MELS - 2)
        matrix = np.zeros((N_MELS, N_MELS), np.float32)
        matrix[low, np.arange(N_MELS)] = 1 - (source - low)
        matrix[low + 1, np.arange(N_MELS)] += source - low
        warps.append(matrix)
    return warps


class Augmenter:
    """Draws speakers and channels; `strength` is the share of windows that get the full set."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._warps = draw_warps(rng, 400)
        # Mel power of noise is gamma-distributed; its degrees of freedom are the filter's FFT bins.
        bins = np.r_[np.ones(40), np.linspace(1, 5, 40)]
        self._noise = rng.gamma(bins, 1 / bins, (16_000, N_MELS)).astype(np.float32)

    def draw_speaker(self, *, strong: bool) -> Speaker:
        """Draw a speaker and channel; without `strong`, only the level is changed."""
        rng = self._rng
        level = rng.uniform(-2.2, 0.6)
        if not strong:
            return Speaker(equalizer=level)
        curve = smooth_curve(rng, 0.4, 0.3) if rng.random() < 0.85 else np.zeros(N_MELS)
        return Speaker(
            stretch=rng.uniform(0.8, 1.3) if rng.random() < 0.5 else 1.0,
            warp=self._warps[rng.integers(len(self._warps))] if rng.random() < 0.85 else None,
            equalizer=(curve + level).astype(np.float32),
            blur=rng.uniform(0.05, 0.3) if rng.random() < 0.4 else 0.0,
            echo=(rng.uniform(0.75, 0.95), rng.uniform(0.1, 1.0)) if rng.random() < 0.35 else None,
        )

    def speak(self, recording: Recording, speaker: Speaker) -> Spoken:
        """Apply a speaker to a recording."""
        log_mel = recording.log_mel.astype(np.float32)
        phonemes = recording.phonemes.astype(np.int64)
        phonemes[phonemes == _UNKNOWN] = -100
        spans = recording.spans
        if speaker.stretch != 1.0:
            log_mel, phonemes, spans = _stretch(log_mel, phonemes, spans, speaker.stretch)
        if speaker.warp is not None:
            log_mel = log_mel @ speaker.warp
        power = np.exp(np.clip(log_mel + speaker.equalizer, -10, 4) * np.float32(np.log(10)))
        if speaker.blur:
            power = _blur(power, speaker.blur)
        if speaker.echo is not None:
            power = _echo(power, *speaker.echo)
        return Spoken(recording.text, power, phonemes, spans)

    def add_noise(self, power: FloatArray, level: float, *, strong: bool) -> None:
        """Add colored noise to a window, in place, 3 to 50 dB below `level`."""
        rng = self._rng
        color = 10 ** (smooth_curve(rng, 0.5, 0.3) - 0.4 * _MEL_AXIS)
        snr_db = rng.uniform(3, 50) if strong else rng.uniform(25, 55)
        start = rng.integers(16_000 - len(power))
        gain = level * 10 ** (-snr_db / 10) * color / color.mean()
        power += gain.astype(np.float32) * self._noise[start : start + len(power)]

    def limit_band(self, power: FloatArray) -> None:
        """Cut the highs at 3 to 5 kHz, and half of the time the lows, in place: a telephone."""
        rng = self._rng
        power[:, rng.integers(50, 67) :] *= 10 ** -rng.uniform(3, 7)
        if rng.random() < 0.5:
            power[:, : rng.integers(1, 9)] *= 10 ** -rng.uniform(1, 5)

    def mask(self, power: FloatArray) -> None:
        """Silence up to three bands of mels and a short time per 4 s, in place (SpecAugment)."""
        rng = self._rng
        for _ in range(rng.integers(0, 4)):
            width = rng.integers(1, 11)
            start = rng.integers(N_MELS - width)
            power[:, start : start + width] *= 1e-4
        for _ in range(rng.integers(0, 2 + len(power) // 400)):
            begin, length = rng.integers(len(power)), rng.integers(1, 10)
            power[begin : begin + length] *= 1e-4


def _stretch(
    log_mel: FloatArray, phonemes: npt.NDArray[np.int64], spans: list[Span], factor: float
) -> tuple[FloatArray, npt.NDArray[np.int64], list[Span]]:
    frames = len(phonemes)
    new_frames = max(4, int(frames * factor))
    at = np.minimum(np.arange(2 * new_frames) * (frames / new_frames), 2 * frames - 1.001)
    low = at.astype(int)
    share = (at - low)[:, None].astype(np.float32)
    stretched = log_mel[low] * (1 - share) + log_mel[low + 1] * share
    picked = np.minimum((np.arange(new_frames) * (frames / new_frames)).astype(int), frames - 1)
    scale = new_frames / frames
    moved = [(int(start * scale), int(end * scale + 0.5)) for start, end in spans]
    return stretched, phonemes[picked], moved


def _blur(power: FloatArray, share: float) -> FloatArray:
    left = np.concatenate([power[:, :1], power[:, :-1]], axis=1)
    right = np.concatenate([power[:, 1:], power[:, -1:]], axis=1)
    blurred: FloatArray = (1 - 2 * share) * power + np.float32(share) * (left + right)
    return blurred


def _echo(power: FloatArray, decay: float, weight: float) -> FloatArray:
    """Add an exponential tail of 240 ms, the power of its frames summing to `weight`."""
    tail = np.zeros_like(power)
    gain = np.float32(weight * (1 - decay) / decay)
    for delay in range(1, min(25, len(power))):
        tail[delay:] += gain * np.float32(decay**delay) * power[:-delay]
    return power + tail
