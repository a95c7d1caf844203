"""The interface of a Whisper network, which packed weights and transformers' modules implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor
from transformers import WhisperConfig

if TYPE_CHECKING:
    from thoth_watch.infrastructure.whisper.decoding.search import Decoded, Search


class DecoderState(Protocol):
    """The encoder output and the tokens that the decoder has read, one row per hypothesis.

    The network that created a state also computes its steps, so no state can reach the wrong network.
    """

    def step(self, tokens: Tensor) -> Tensor:
        """Read tokens, shape (n, k); return the next token's logits, float32, (n, vocabulary)."""

    def align(self, tokens: Tensor, heads: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Read tokens, shape (n, k); return cross-attention weights and the logits after each token.

        heads: the alignment heads, as (layer, head). Returns weights, (n, n_heads, k, positions), and
        float32 logits, (n, k, vocabulary).
        """

    def greedy(self, prompts: Sequence[list[int]], logits: Tensor, search: Search) -> list[Decoded]:
        """Decode all rows greedily by the rules of `search`; the state may change.

        Must be a prefilled state: it has read only the start token, after which `logits` came.
        prompts: prompt tokens of each row, of equal length.
        """

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Keep or reorder the rows, in place.

        rows: indices of the rows to keep, shape (n_kept,), repetitions allowed. within_windows: the
        number of rows and each row's window stay the same, so only the tokens are reordered.
        """

    def without_tokens(self, rows: Tensor | None = None) -> Self:
        """Return a new state with the same encoder output and no tokens.

        rows: indices of the rows to take, repetitions allowed; None: all.
        """


class WhisperNetwork(Protocol):
    """An encoder and a decoder on a device."""

    config: WhisperConfig
    device: torch.device  # of its inputs
    device_map: dict[str, str] | None  # device of each module if it is offloaded, else None
    encodes_short_windows: bool  # False: features must have the model's full length

    @property
    def encoder_dtype(self) -> torch.dtype:
        """Return the dtype of the encoder's weights, except int8 layers."""

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Return the dtype of the decoder's weights, except int8 layers."""

    @property
    def encoder_precision(self) -> str:
        """Return the encoder's precision, read from its layers."""

    @property
    def decoder_precision(self) -> str:
        """Return the decoder's precision, read from its layers."""

    def encode(self, features: Tensor) -> Tensor:
        """Return the encoder output, shape (n_windows, positions, d_model).

        features: log-mels, float32, shape (n_windows, n_mels, 2 * positions).
        """

    def prefill(self, hidden: Tensor, tokens: Tensor) -> tuple[DecoderState, Tensor]:
        """Read the first tokens of each window; return the new state and the next token's logits.

        hidden: the encoder output. tokens: shape (n_windows, k). Logits: float32, (n_windows, vocabulary).
        """
