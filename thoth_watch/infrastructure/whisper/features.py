"""Log-mel features of windows, as transformers' own extractor computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.infrastructure.whisper.windows import FloatArray


def log_mels(extractor: Any, windows: Sequence[FloatArray]) -> torch.Tensor:
    """Features of windows, each padded with silence to the extractor's full length.

    windows: float32, shape (n_samples,), at most 30 s at 16 kHz mono.
    Returns float32 on the CPU, shape (n_windows, n_mels, 3000). Never under autocast: the
    extractor fails in bfloat16; weights are cast instead, and these features where the encoder
    takes them in.
    """
    batch = extractor(list(windows), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    features: torch.Tensor = batch.input_features
    return features
