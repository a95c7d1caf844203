"""Audio without speech: silence, noise, hum, tones, chirps, clicks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.mel import SAMPLE_RATE_HZ, FloatArray

KINDS = ("silence", "noise", "hum", "tones", "chirp", "clicks")


def colored_noise(rng: np.random.Generator, count: int, slope: float) -> FloatArray:
    """Return noise whose power falls by 1/f**slope (0 white, 1 pink, 2 brown)."""
    spectrum = np.fft.rfft(rng.normal(size=count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1.0) ** (slope / 2)
    return _normalize(np.fft.irfft(spectrum, count))


def non_speech(rng: np.random.Generator, kind: str, seconds: float) -> FloatArray:
    """Draw one clip of a kind named in KINDS, 16 kHz, peak between 0.001 and 0.7."""
    count = int(seconds * SAMPLE_RATE_HZ)
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    wave: npt.NDArray[np.floating]
    if kind == "silence":
        return (rng.normal(size=count) * 10 ** rng.uniform(-7, -4)).astype(np.float32)
    if kind == "noise":
        wave = colored_noise(rng, count, rng.uniform(0, 2))
        if rng.random() < 0.5:
            wave = wave * (1 + rng.uniform(0, 1) * np.sin(2 * np.pi * rng.uniform(0.1, 5) * time_s))
    elif kind == "hum":
        base = rng.choice([50.0, 60.0])
        wave = 0.2 * rng.normal(size=count)
        wave += sum(np.sin(2 * np.pi * base * k * time_s) / k for k in range(1, 6))
    elif kind == "tones":
        wave = np.zeros(count)
        start = 0
        while start < count:
            length = int(rng.uniform(0.1, 1.5) * SAMPLE_RATE_HZ)
            part_s = time_s[: len(wave[start : start + length])]
            root = 110 * 2 ** (rng.integers(0, 37) / 12)
            envelope = np.exp(-part_s * rng.uniform(0, 6))
            for step in rng.choice([0, 3, 4, 7, 12], size=rng.integers(1, 4), replace=False):
                for harmonic in range(1, rng.integers(2, 6)):
                    hz = root * 2 ** (step / 12) * harmonic
                    wave[start : start + length] += (
                        envelope * np.sin(2 * np.pi * hz * part_s) / harmonic
                    )
            start += length + int(rng.uniform(0, 0.3) * SAMPLE_RATE_HZ)
    elif kind == "chirp":
        hz = np.linspace(rng.uniform(100, 4000), rng.uniform(100, 4000), count)
        wave = np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)
    elif kind == "clicks":
        wave = 0.01 * rng.normal(size=count)
        for position in rng.integers(0, max(1, count - 400), size=max(1, int(3 * seconds))):
            wave[position : position + 400] += rng.normal(size=400) * np.exp(-np.arange(400) / 40)
    else:
        raise ValueError(f"{kind}: not one of {', '.join(KINDS)}")
    return (_normalize(wave) * 10 ** rng.uniform(-3, -0.2)).astype(np.float32)


def _normalize(wave: npt.NDArray[np.floating]) -> FloatArray:
    normalized: FloatArray = (wave / (np.abs(wave).max() + 1e-9)).astype(np.float32)
    return normalized
