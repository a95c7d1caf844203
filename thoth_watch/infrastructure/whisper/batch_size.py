"""The batch size: windows per forward pass, reduced when memory runs out and raised again step by step."""

from __future__ import annotations

from typing import Any

import torch

PASSES_BEFORE_GROWTH = 32  # full forward passes without an error before a larger batch is tried

# Limits of the automatic batch size. They bound the cross-attention keys and values of all windows
# and layers together, because these grow with the batch size and take the most memory.
MAX_WINDOWS, MAX_WINDOWS_ON_GPU = 8, 32
ALWAYS_FITTING_NUMBERS = 128_000_000  # cached numbers that fit on every CPU
SHARE_OF_WEIGHTS = 0.65  # cached numbers per weight of the model that are acceptable on a CPU
SHARE_OF_GPU = 0.25  # share of the GPU's memory that the cache may take

# (model, device) to the smallest batch size that ran out of memory in this process
_TOO_LARGE: dict[tuple[str, str], int] = {}


def automatic_batch_size(
    config: Any, *, n_weights: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Return the number of windows per forward pass to use when none is configured.

    config: a WhisperConfig. n_weights: the model's number of weights. dtype: of the cross-attention
    keys and values. On a CPU, a larger batch gains little once a decoder step reads more keys and
    values than weights.
    """
    n_cached: int = 2 * config.decoder_layers * config.max_source_positions * config.d_model
    n_windows: int
    if device.type == "cuda":
        memory: int = torch.cuda.get_device_properties(device).total_memory
        n_windows = int(SHARE_OF_GPU * memory) // (n_cached * dtype.itemsize)
        return max(1, min(MAX_WINDOWS_ON_GPU, n_windows))
    n_windows = max(ALWAYS_FITTING_NUMBERS, int(SHARE_OF_WEIGHTS * n_weights)) // n_cached
    return max(1, min(MAX_WINDOWS, n_windows))


class BatchSize:
    """The current batch size, at most the requested one."""

    def __init__(self, requested: int, *, shared_key: tuple[str, str] | None = None) -> None:
        """Start at the requested size, or below a size that is known to be too large.

        shared_key: (model, device); engines of this process with the same key share which sizes are
        too large. None: nothing is shared.
        """
        self._key = shared_key
        known = requested + 1 if shared_key is None else _TOO_LARGE.get(shared_key, requested + 1)
        self._too_large = min(requested + 1, known)
        self._largest_success = self._successes = 0
        self.current = requested if self._too_large > requested else max(1, self._too_large // 2)

    def record_failure(self, n_windows: int) -> None:
        """Reduce the batch size after a pass of `n_windows` (at least 2) ran out of memory.

        The new size is half of `n_windows`, or the largest size that has succeeded if that is larger.
        """
        self._too_large = min(self._too_large, n_windows)
        if self._key is not None:
            _TOO_LARGE[self._key] = self._too_large
        if self._largest_success >= n_windows:  # less memory is free now than at that success
            self._largest_success = 0
        self.current = min(self.current, max((n_windows + 1) // 2, self._largest_success))
        self._successes = 0

    def record_success(self, n_windows: int) -> None:
        """Count a pass that succeeded; after enough full ones, raise the batch size.

        The new size is halfway to the smallest one that was too large.
        """
        if n_windows < self.current:
            return
        self._largest_success, self._successes = (
            max(self._largest_success, n_windows),
            self._successes + 1,
        )
        if self._successes >= PASSES_BEFORE_GROWTH:
            self.current += (self._too_large - self.current) // 2
            self._successes = 0
