"""How many windows share a forward pass: as asked, fewer where memory runs out, more again with care."""

from __future__ import annotations

from typing import Any

import torch

PASSES_BEFORE_GROWTH = 32  # full passes that go well before a larger one is tried

# by itself: what each window's keys and values of the encoder's output, for all layers, may take
MAX_WINDOWS, MAX_WINDOWS_ON_GPU = 8, 32
ALWAYS_FITTING_NUMBERS = 128_000_000  # numbers: so many are never too many,
SHARE_OF_WEIGHTS = 0.65  # nor so many for each of the model's weights
SHARE_OF_GPU = 0.25  # of its memory

_TOO_LARGE: dict[
    tuple[str, str], int
] = {}  # by model and device: what this process knows not to fit


def automatic_batch_size(
    config: Any, *, n_weights: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Windows that share a forward pass where nobody said how many.

    config: a WhisperConfig. n_weights: numbers that the model has. dtype: what the keys are kept in.
    On a CPU more windows gain little once the weights that each step reads are few beside their keys.
    """
    numbers: int = 2 * config.decoder_layers * config.max_source_positions * config.d_model
    fitting: int
    if device.type == "cuda":
        memory: int = torch.cuda.get_device_properties(device).total_memory
        fitting = int(SHARE_OF_GPU * memory) // (numbers * dtype.itemsize)
        return max(1, min(MAX_WINDOWS_ON_GPU, fitting))
    fitting = max(ALWAYS_FITTING_NUMBERS, int(SHARE_OF_WEIGHTS * n_weights)) // numbers
    return max(1, min(MAX_WINDOWS, fitting))


class BatchSize:
    """The size of the next forward pass, at most what was asked for."""

    def __init__(self, requested: int, *, shared_key: tuple[str, str] | None = None) -> None:
        """remembered_as: model and device, where another engine of this process begins with what was learnt."""
        self._key = shared_key
        known = requested + 1 if shared_key is None else _TOO_LARGE.get(shared_key, requested + 1)
        self._too_large = min(requested + 1, known)
        self._largest_success = self._successes = 0
        self.current = requested if self._too_large > requested else max(1, self._too_large // 2)

    def record_failure(self, n_windows: int) -> None:
        """A pass of so many windows, two or more, was too large: half of it, or what has gone well."""
        self._too_large = min(self._too_large, n_windows)
        if self._key is not None:
            _TOO_LARGE[self._key] = self._too_large
        if self._largest_success >= n_windows:  # there is less memory than there was
            self._largest_success = 0
        self.current = min(self.current, max((n_windows + 1) // 2, self._largest_success))
        self._successes = 0

    def record_success(self, n_windows: int) -> None:
        """A pass went well. After enough full ones the next is halfway to what was too large."""
        if n_windows < self.current:
            return
        self._largest_success, self._successes = (
            max(self._largest_success, n_windows),
            self._successes + 1,
        )
        if self._successes >= PASSES_BEFORE_GROWTH:
            self.current += (self._too_large - self.current) // 2
            self._successes = 0
