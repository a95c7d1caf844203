"""Whisper's timestamp rules, applied to the logits of all rows of a decoder step."""

from __future__ import annotations

import torch
from torch import Tensor

from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens


class TimestampRules:
    """A logits filter with the rules of openai/whisper's ApplyTimestampRules.

    Timestamps come in pairs, except before end-of-text; they are non-decreasing; the first token is a
    timestamp; and the next token is a timestamp if all timestamps together are more probable than
    every text token.
    """

    def __init__(self, special_tokens: SpecialTokens, n_windows: int, device: torch.device) -> None:
        self._special_tokens = special_tokens
        # for each row, True if its last and its second-last token are timestamps
        self._last = torch.zeros(n_windows, dtype=torch.bool, device=device)
        self._second_last = torch.ones_like(self._last)
        self._last_timestamp = torch.full(
            (n_windows,), special_tokens.timestamp_begin - 1, device=device
        )
        self._is_first = True

    def apply(self, scores: Tensor) -> None:
        """Set the logits of tokens that the rules forbid to minus infinity, in place.

        scores: float32, shape (n_windows, vocabulary).
        """
        special, begin = self._special_tokens, self._special_tokens.timestamp_begin
        scores[:, special.no_timestamps] = -torch.inf
        text, timestamps = scores[:, :begin], scores[:, begin:]
        if self._is_first:
            text.fill_(-torch.inf)
            if special.max_initial_timestamp_index is not None:
                timestamps[:, special.max_initial_timestamp_index + 1 :] = -torch.inf
            return
        # the second timestamp of a pair is still missing; it may have the same time as the first
        is_unpaired = self._last & ~self._second_last
        timestamps.masked_fill_((self._last & self._second_last)[:, None], -torch.inf)
        scores[:, : special.end].masked_fill_(is_unpaired[:, None], -torch.inf)
        index = torch.arange(begin, scores.shape[1], device=scores.device)
        first_allowed = self._last_timestamp + (~is_unpaired).long()
        timestamps.masked_fill_(index < first_allowed[:, None], -torch.inf)
        must_be_timestamp = timestamps.logsumexp(dim=-1) > text.amax(dim=-1)
        text.masked_fill_(must_be_timestamp[:, None], -torch.inf)

    def push(self, tokens: Tensor) -> None:
        """Record the tokens chosen in this step, shape (n_windows,)."""
        is_timestamp = tokens >= self._special_tokens.timestamp_begin
        if not self._is_first:
            self._second_last = self._last
        self._last, self._is_first = is_timestamp, False
        self._last_timestamp = torch.where(is_timestamp, tokens, self._last_timestamp)

    def keep(self, rows: Tensor) -> None:
        """Keep or reorder the rows, in place. rows: indices of the rows to keep."""
        self._last, self._second_last = self._last[rows], self._second_last[rows]
        self._last_timestamp = self._last_timestamp[rows]
