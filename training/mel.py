"""Whisper's mel spectrogram in numpy, so that generating data needs no torch."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
N_FFT = 400
HOP = 160
N_MELS = 80
FRAME = 2 * HOP  # 320 samples = 20 ms: one encoder position

FloatArray = npt.NDArray[np.float32]


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    log_part = 15.0 + np.log(np.maximum(hz, 1e-9) / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hz < 1000.0, 3.0 * hz / 200.0, log_part)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    log_part = 1000.0 * np.exp((mel - 15.0) * (np.log(6.4) / 27.0))
    return np.where(mel < 15.0, 200.0 * mel / 3.0, log_part)


@cache
def mel_filters() -> FloatArray:
    """Return Slaney's mel filter bank as used by Whisper, shape (201, 80)."""
    fft_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1)
    max_mel = _hz_to_mel(np.array([SAMPLE_RATE_HZ / 2]))[0]
    edges_hz = _mel_to_hz(np.linspace(0.0, max_mel, N_MELS + 2))
    slopes = edges_hz[None, :] - fft_hz[:, None]
    widths = np.diff(edges_hz)
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return (filters * (2.0 / (edges_hz[2:] - edges_hz[:-2]))).astype(np.float32)


def mel_power(samples: FloatArray) -> FloatArray:
    """Compute the mel power of a 16 kHz waveform, shape (n_samples // 160, 80)."""
    padded = np.pad(samples, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames[: len(samples) // HOP] * window, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return power @ mel_filters()
