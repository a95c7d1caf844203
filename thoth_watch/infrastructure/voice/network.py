"""Silero's voice activity network, many frames at a time.

The package's own model takes a frame of 32 ms at a time, and importing the package sets torch to one
thread. So its weights are read without importing it, and run here: all frames of a block go through
the convolutions together and through the recurrent layer as one sequence. The probabilities are those
of its model, ten times sooner. Source: silero_vad/tinygrad_model.py, which spells the network out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

FRAME = 512  # samples at 16 kHz: 32 ms
CONTEXT = 64  # samples of the frame before that each frame sees
PAD = 64  # samples mirrored at a frame's end
BINS = 129

State = tuple[Tensor, Tensor]


class SileroNetwork(nn.Module):  # type: ignore[misc] # torch is untyped here
    """Frames in, the probability of speech in each out."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        """weights: of the package's own model for 16 kHz."""
        super().__init__()
        self.spectrum = nn.Conv1d(1, 2 * BINS, 256, stride=128, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n_in, n_out, 3, stride=stride, padding=1)
            for n_in, n_out, stride in ((BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
        )
        self.memory = nn.LSTM(128, 128)
        self.head = nn.Conv1d(128, 1, 1)
        self.load_state_dict({_rename_weight(name): weight for name, weight in weights.items()})
        self.eval()

    def forward(self, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
        """frames: float32, shape (n, CONTEXT + FRAME), in time order. Returns shape (n,), and the state."""
        padded = functional.pad(frames, (0, PAD), "reflect").unsqueeze(1)
        parts = self.spectrum(padded)
        hidden = (parts[:, :BINS] ** 2 + parts[:, BINS:] ** 2).sqrt()
        for convolution in self.convolutions:
            hidden = convolution(hidden).relu()
        heard, state = self.memory(hidden.squeeze(-1), state)
        return self.head(heard.relu().unsqueeze(-1)).sigmoid().flatten(), state


def _rename_weight(name: str) -> str:
    """Ours for a name such as encoder.0.reparam_conv.weight."""
    for theirs, ours in (
        (r"stft\.forward_basis_buffer", "spectrum.weight"),
        (r"encoder\.(\d)\.reparam_conv\.(\w+)", r"convolutions.\1.\2"),
        (r"decoder\.rnn\.(\w+)", r"memory.\1_l0"),
        (r"decoder\.decoder\.2\.(\w+)", r"head.\1"),
    ):
        name = re.sub(f"^{theirs}$", ours, name)
    return name
