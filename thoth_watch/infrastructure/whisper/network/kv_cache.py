"""The KV cache of the packed decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class ReplayedStep(Protocol):
    """A decoder step that was captured over the tensors of one cache."""

    def __call__(self, tokens: Tensor, *, position: int) -> Tensor:
        """Return the next token's logits, float32, (n, vocabulary)."""


@dataclass(slots=True)
class KVCache:
    """The decoder's KV cache: keys and values for cross-attention and self-attention, one row per hypothesis.

    keys, values: cross-attention, per layer (n_windows, heads, positions, head_dim).
    self_attention: per layer keys and values of the tokens read, each (n_rows, heads, max_tokens,
    head_dim). windows: the window of each row; None: row i belongs to window i. On a CPU, rows of
    the same window share its cross-attention keys and values without copies, because these take
    the most memory.
    """

    keys: list[Tensor]
    values: list[Tensor]
    self_attention: list[tuple[Tensor, Tensor]]
    windows: list[int] | None = None
    n_tokens: int = 0
    n_stable_steps: int = 0  # steps since tensors were last replaced
    captured: ReplayedStep | None = None  # on a GPU: the CUDA graph over exactly these tensors

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Keep or reorder the rows, in place, as DecoderState describes."""
        self.captured, self.n_stable_steps = None, 0
        if not within_windows:
            self._select_windows(rows)
        self.self_attention = [(k[rows], v[rows]) for k, v in self.self_attention]

    def without_tokens(self, rows: Tensor | None = None) -> KVCache:
        """Return a new cache with the same cross-attention keys and values and no tokens.

        rows: indices of the rows to take, repetitions allowed; None: all.
        """
        cache = KVCache(self.keys, self.values, [], self.windows)
        if rows is not None:
            cache._select_windows(rows)
        n_rows = len(cache.keys[0]) if cache.windows is None else len(cache.windows)
        shape = (n_rows, *self.self_attention[0][0].shape[1:])
        cache.self_attention = [
            (k.new_empty(shape), v.new_empty(shape)) for k, v in self.self_attention
        ]
        return cache

    def _select_windows(self, rows: Tensor) -> None:
        if rows.device.type != "cpu":  # a copy pays off: one kernel then serves all rows
            self.keys = [part[rows] for part in self.keys]
            self.values = [part[rows] for part in self.values]
            return
        current = range(len(self.keys[0])) if self.windows is None else self.windows
        windows = [current[row] for row in rows.tolist()]
        self.windows = None if windows == list(range(len(self.keys[0]))) else windows
