"""Windows to tokens over packed weights: greedy, with no work for windows that have ended."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thoth_watch.infrastructure.whisper.decoding import Decoded, Opening, read_opening
from thoth_watch.infrastructure.whisper.packed import Memory, PackedWhisper
from thoth_watch.infrastructure.whisper.timestamp_rules import TimestampRules
from thoth_watch.infrastructure.whisper.vocabulary import Vocabulary

KEEP_SHARE = 0.75  # fewer windows than this still going: the others are dropped from the batch


class PackedWindowDecoder:
    """Decodes windows that share a forward pass; they may differ in language and task."""

    def __init__(self, network: PackedWhisper, vocabulary: Vocabulary) -> None:
        self._network, self._vocabulary = network, vocabulary
        size = network.config.vocab_size
        self._suppressed = vocabulary.mask(vocabulary.suppressed, size, network.device)
        self._suppressed_first = vocabulary.mask(vocabulary.suppressed_first, size, network.device)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """The encoder's output, shape (n_windows, positions, d_model). features: float32 log-mels."""
        return self._network.encode(features)

    @torch.inference_mode()
    def open(self, hidden: Tensor) -> Opening:
        """One decoder step on the start token: whether it is speech, and in which language."""
        memory = self._network.remember(
            hidden, max_tokens=self._network.config.max_target_positions
        )
        start = torch.full((len(hidden), 1), self._vocabulary.start, device=hidden.device)
        return read_opening(self._network.step(start, memory), self._vocabulary, cache=memory)

    @torch.inference_mode()
    def generate(
        self, hidden: Tensor, opening: Opening, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """Greedy tokens with timestamps for each window; prompts are of equal length.

        `opening` is used up. The tokens are those of transformers' own loop over the same numbers.
        """
        memory: Memory = opening.cache
        prompt = torch.tensor(prompts, device=hidden.device)
        v, n_windows = self._vocabulary, len(prompts)
        logits, rest = opening.logits, prompt[:, 1:]  # the start token is in the cache already
        if rest.shape[1]:
            logits = self._network.step(rest, memory)
        rules = TimestampRules(v, n_windows, hidden.device)
        room = v.room(prompt.shape[1], self._network.config.max_target_positions)
        rows = torch.arange(n_windows, device=hidden.device)  # of `prompts`, those still going
        has_ended = torch.zeros(n_windows, dtype=torch.bool, device=hidden.device)
        tokens = torch.full((n_windows, room), v.end, device=hidden.device)
        logprobs = torch.zeros(n_windows, device=hidden.device)
        for step in range(room):
            logits.masked_fill_(self._suppressed, -torch.inf)
            if step == 0:
                logits.masked_fill_(self._suppressed_first, -torch.inf)
            rules.apply(logits)
            best, chosen = logits.max(dim=-1)
            logprobs[rows] += torch.where(has_ended, 0.0, best - logits.logsumexp(dim=-1))
            chosen.masked_fill_(has_ended, v.end)
            tokens[rows, step] = chosen
            has_ended |= chosen == v.end
            n_going = len(rows) - int(has_ended.sum())
            if n_going == 0 or step == room - 1:
                break
            rules.push(chosen)
            if n_going <= KEEP_SHARE * len(rows):
                going = (~has_ended).nonzero()[:, 0]
                rows, has_ended, chosen = rows[going], has_ended[going], chosen[going]
                memory.keep(going)
                rules.keep(going)
            logits = self._network.step(chosen[:, None], memory)
        return [
            Decoded.cut(row, total, end=v.end)
            for row, total in zip(tokens.tolist(), logprobs.tolist(), strict=True)
        ]
