"""How many windows share a forward pass: as asked, fewer where memory runs out, more again with care."""

from __future__ import annotations

from typing import Any

import torch

PATIENCE = 32  # full passes that go well before a larger one is tried

# by itself: what each window's keys and values of the encoder's output, for all layers, may take
MOST, MOST_ON_GPU = 8, 32
SMALL = 128_000_000  # numbers: so many are never too many,
SHARE_OF_WEIGHTS = 0.65  # nor so many for each of the model's weights
SHARE_OF_GPU = 0.25  # of its memory

_TOO_MANY: dict[
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
        return max(1, min(MOST_ON_GPU, fitting))
    fitting = max(SMALL, int(SHARE_OF_WEIGHTS * n_weights)) // numbers
    return max(1, min(MOST, fitting))


class BatchSize:
    """The size of the next forward pass, at most what was asked for."""

    def __init__(self, asked: int, *, remembered_as: tuple[str, str] | None = None) -> None:
        """remembered_as: model and device, where another engine of this process begins with what was learnt."""
        self._key = remembered_as
        known = asked + 1 if remembered_as is None else _TOO_MANY.get(remembered_as, asked + 1)
        self._too_many = min(asked + 1, known)
        self._good = self._well = 0
        self.now = asked if self._too_many > asked else max(1, self._too_many // 2)

    def failed(self, n_windows: int) -> None:
        """A pass of so many windows, two or more, was too large: half of it, or what has gone well."""
        self._too_many = min(self._too_many, n_windows)
        if self._key is not None:
            _TOO_MANY[self._key] = self._too_many
        if self._good >= n_windows:  # there is less memory than there was
            self._good = 0
        self.now = min(self.now, max((n_windows + 1) // 2, self._good))
        self._well = 0

    def went_well(self, n_windows: int) -> None:
        """A pass went well. After enough full ones the next is halfway to what was too large."""
        if n_windows < self.now:
            return
        self._good, self._well = max(self._good, n_windows), self._well + 1
        if self._well >= PATIENCE:
            self.now += (self._too_many - self.now) // 2
            self._well = 0
