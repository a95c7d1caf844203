"""Windows to tokens over packed weights, with no work for windows that have ended."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding import Opening, WindowDecoder, read_opening
from thoth_watch.infrastructure.whisper.packed import PackedWhisper
from thoth_watch.infrastructure.whisper.search import Decoded, Search
from thoth_watch.infrastructure.whisper.steps import StepMemory
from thoth_watch.infrastructure.whisper.vocabulary import Vocabulary


class PackedWindowDecoder(WindowDecoder):
    """The greedy tokens are those of transformers' own loop over the same numbers."""

    def __init__(
        self,
        network: PackedWhisper,
        vocabulary: Vocabulary,
        *,
        options: DecodingOptions | None = None,
    ) -> None:
        options = options or DecodingOptions()
        self._network, self._vocabulary = network, vocabulary
        search = Search(
            network,
            vocabulary,
            size=network.config.vocab_size,
            positions=network.config.max_target_positions,
            device=network.device,
            suppressed=options.suppress_tokens,
        )
        super().__init__(network, search, options)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """See WindowDecoder."""
        return self._network.encode(features)

    @torch.inference_mode()
    def open(self, hidden: Tensor) -> Opening:
        """See WindowDecoder."""
        memory = self._network.remember(
            hidden, max_tokens=self._network.config.max_target_positions
        )
        start = torch.full((len(hidden), 1), self._vocabulary.start, device=hidden.device)
        return read_opening(self._network.step(start, memory), self._vocabulary, memory=memory)

    def _begin(
        self, opening: Opening, prompts: Sequence[list[int]], rows: Tensor
    ) -> tuple[StepMemory, Tensor]:
        memory = opening.memory.again(rows)
        return memory, self._network.step(torch.tensor(prompts, device=rows.device), memory)

    @torch.inference_mode()
    def greedy(
        self, hidden: Tensor, opening: Opening, prompts: Sequence[list[int]]
    ) -> list[Decoded]:
        """See WindowDecoder."""
        prompt, v = torch.tensor(prompts, device=hidden.device), self._vocabulary
        if prompts[0][0] == v.start:  # it is in the memory already
            memory, logits = copy.copy(opening.memory), opening.logits.clone()
            rest = prompt[:, 1:]
        else:
            memory, rest = opening.memory.again(), prompt
        if rest.shape[1]:
            logits = self._network.step(rest, memory)
        return self._search.run(memory, logits, prompt_length=prompt.shape[1])
