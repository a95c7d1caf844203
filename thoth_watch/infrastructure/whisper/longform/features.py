"""Log-mel features of windows, computed by transformers' feature extractor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.infrastructure.whisper.longform.windows import FloatArray

SAMPLES_PER_POSITION = 320  # samples per encoder position: two frames of 160
POSITION_STEP = 64  # lengths are rounded up to multiples of it, so that few different ones occur
# minimum silence after a window's audio, 0.5 s, by which the model recognizes the end of speech
TRAILING_SILENCE_POSITIONS = 25


def count_positions(n_samples: int, *, limit: int) -> int:
    """Return the encoder positions for `n_samples` samples plus trailing silence, at most `limit`."""
    n_positions = -(-n_samples // SAMPLES_PER_POSITION) + TRAILING_SILENCE_POSITIONS
    return min(-(-n_positions // POSITION_STEP) * POSITION_STEP, limit)


def log_mels(
    extractor: Any,
    windows: Sequence[FloatArray],
    *,
    positions: int | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Return the log-mel features of windows, each padded with silence to `positions` encoder positions.

    windows: float32, shape (n_samples,), at most 30 s at 16 kHz mono. positions: enough for the longest
    window; None: the extractor's full length. device: where the features are computed.
    Returns float32 on the CPU, shape (n_windows, n_mels, 2 * positions), equal to transformers' features
    of the window padded to 30 s; the silence is not transformed, its first frames are repeated.
    Must not run under autocast, because the extractor fails in bfloat16; cast the model's weights instead.
    """
    full: int = extractor.n_samples // SAMPLES_PER_POSITION
    positions = positions or full
    computed = count_positions(max(len(w) for w in windows), limit=positions)
    features: torch.Tensor = extractor(
        list(windows),
        sampling_rate=SAMPLE_RATE_HZ,
        max_length=computed * SAMPLES_PER_POSITION,
        return_tensors="pt",
        device="cpu" if device is None else str(device),
    ).input_features
    if computed < positions:
        silence = features[:, :, -1:].expand(-1, -1, 2 * (positions - computed))
        features = torch.cat([features, silence], dim=-1)
    return features
