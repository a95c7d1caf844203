"""A synthetic recording for testing an engine."""

from __future__ import annotations

import numpy as np

from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.audio import SAMPLE_RATE_HZ, AudioInfo

_TONE_HZ, _LOUDNESS = 440.0, 0.1


def one_second_tone() -> Recording:
    """Return one second of a quiet 440 Hz tone."""
    times_s = np.arange(SAMPLE_RATE_HZ, dtype=np.float32) / SAMPLE_RATE_HZ
    samples = _LOUDNESS * np.sin(2 * np.pi * _TONE_HZ * times_s).astype(np.float32)
    info = AudioInfo(
        declared_s=1.0,
        decoded_s=1.0,
        source_rate_hz=SAMPLE_RATE_HZ,
        source_channels=1,
        codec="tone",
        decoder="none",
    )
    return Recording(key=0, samples=samples, sha256="", info=info, language="en")
