"""Whisper's rules on where timestamps may stand, for all windows of a step at once."""

from __future__ import annotations

import torch
from torch import Tensor

from thoth_watch.infrastructure.whisper.special_tokens import SpecialTokens


class TimestampRules:
    """Forbids tokens by what came before; the rules of openai/whisper's ApplyTimestampRules.

    Timestamps come in pairs, but for the one before end-of-text; they never run backwards; the first
    token is one; and one is taken where all together are likelier than any word.
    """

    def __init__(self, special_tokens: SpecialTokens, n_windows: int, device: torch.device) -> None:
        self._v = special_tokens
        self._last = torch.zeros(n_windows, dtype=torch.bool, device=device)
        self._second_last = torch.ones_like(self._last)
        self._last_stamp = torch.full(
            (n_windows,), special_tokens.timestamp_begin - 1, device=device
        )
        self._is_first = True

    def apply(self, scores: Tensor) -> None:
        """Put the logits of what must not come at minus infinity, in place.

        scores: float32, shape (n_windows, vocabulary).
        """
        v, begin = self._v, self._v.timestamp_begin
        scores[:, v.no_timestamps] = -torch.inf
        words, stamps = scores[:, :begin], scores[:, begin:]
        if self._is_first:
            words.fill_(-torch.inf)
            if v.max_initial_timestamp_index is not None:
                stamps[:, v.max_initial_timestamp_index + 1 :] = -torch.inf
            return
        opens = self._last & ~self._second_last  # its partner may be of the same time
        stamps.masked_fill_((self._last & self._second_last)[:, None], -torch.inf)
        scores[:, : v.end].masked_fill_(opens[:, None], -torch.inf)
        index = torch.arange(begin, scores.shape[1], device=scores.device)
        first_allowed = self._last_stamp + (~opens).long()
        stamps.masked_fill_(index < first_allowed[:, None], -torch.inf)
        likelier = stamps.logsumexp(dim=-1) > words.amax(dim=-1)
        words.masked_fill_(likelier[:, None], -torch.inf)

    def push(self, tokens: Tensor) -> None:
        """Take note of the tokens that were chosen, shape (n_windows,)."""
        is_stamp = tokens >= self._v.timestamp_begin
        if not self._is_first:
            self._second_last = self._last
        self._last, self._is_first = is_stamp, False
        self._last_stamp = torch.where(is_stamp, tokens, self._last_stamp)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the windows only. rows: their indices."""
        self._last, self._second_last = self._last[rows], self._second_last[rows]
        self._last_stamp = self._last_stamp[rows]
