"""Log-mel features of windows, as transformers' own extractor computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.infrastructure.whisper.windows import FloatArray

SAMPLES_PER_POSITION = 320  # of the encoder: two frames of 160
POSITION_STEP = 64  # positions; lengths are rounded up to it, so that few different ones occur
TRAILING_SILENCE_POSITIONS = (
    25  # positions of silence that a window has at least, 0.5 s: a speaker has ended there
)


def count_positions(n_samples: int, *, limit: int) -> int:
    """Encoder positions for a window of so many samples with some silence after it, at most `limit`."""
    wanted = -(-n_samples // SAMPLES_PER_POSITION) + TRAILING_SILENCE_POSITIONS
    return min(-(-wanted // POSITION_STEP) * POSITION_STEP, limit)


def log_mels(
    extractor: Any,
    windows: Sequence[FloatArray],
    *,
    positions: int | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Features of windows, each padded with silence to so many encoder positions.

    windows: float32, shape (n_samples,), at most 30 s at 16 kHz mono. positions: None is the
    extractor's full length, else enough for the longest window. device: where they are computed.
    Returns float32 on the CPU, shape (n_windows, n_mels, 2 * positions), what transformers computes
    for the whole 30 s; silence is not transformed but repeated from its first frames. Never under
    autocast: the extractor fails in bfloat16; weights are cast instead.
    """
    full: int = extractor.n_samples // SAMPLES_PER_POSITION
    positions = positions or full
    heard = count_positions(max(len(w) for w in windows), limit=positions)
    features: torch.Tensor = extractor(
        list(windows),
        sampling_rate=SAMPLE_RATE_HZ,
        max_length=heard * SAMPLES_PER_POSITION,
        return_tensors="pt",
        device="cpu" if device is None else str(device),
    ).input_features
    if heard < positions:
        silence = features[:, :, -1:].expand(-1, -1, 2 * (positions - heard))
        features = torch.cat([features, silence], dim=-1)
    return features
