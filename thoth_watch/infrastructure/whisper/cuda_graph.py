"""The decoder's step on a GPU as one captured graph, where starting its kernels one by one takes longest."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

MIN_STABLE_STEPS = 3  # steps over the same tensors before they are worth a graph
TOLERANCE = (
    0.02  # of the largest logit: how far a graph may be from the plain step, in half precision
)


class StaticStep:
    """A step whose tensors keep their shapes and places: what a graph can hold.

    It reads one token a row at a position that is a tensor, too, and attends to all of the cache
    with what is not written yet masked out. Runs anywhere; only `CapturedStep` needs CUDA.
    """

    def __init__(self, network: Any, cache: Any) -> None:
        """network: PackedWhisper; memory: its Memory, whose tensors stay where they are from now on."""
        self._network = network
        self._cache = replace(cache, captured=None)  # its tensors, but no circle of references
        keys, _ = cache.self_attention[0]
        for part in (tensor for layer in cache.self_attention for tensor in layer):
            part[:, :, cache.n_tokens :] = 0  # what is masked counts nothing, if it is a number
        self._tokens = torch.zeros((len(keys), 1), dtype=torch.long, device=keys.device)
        self._position = torch.zeros(1, dtype=torch.long, device=keys.device)
        self._positions = torch.arange(keys.shape[2], device=keys.device)

    def load(self, tokens: Tensor, *, position: int) -> None:
        """Say what the next step reads, shape (n, 1), and at which position."""
        self._tokens.copy_(tokens)
        self._position.fill_(position)

    def compute(self) -> Tensor:
        """Logits of what comes next: float32, (n, vocabulary)."""
        logits: Tensor = self._network.static_step(
            self._tokens,
            self._cache,
            position=self._position,
            seen=self._positions <= self._position,
        )
        return logits


class CapturedStep:
    """A StaticStep in a CUDA graph."""

    def __init__(self, step: StaticStep, tokens: Tensor, *, position: int, pool: Any) -> None:
        """Capture it. tokens, position: what it is to read first; reading it twice changes nothing."""
        self._step = step
        step.load(tokens, position=position)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step.compute()  # libraries set themselves up, which no graph may hold
            self._graph = torch.cuda.CUDAGraph()
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self._logits = step.compute()
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(side)

    def __call__(self, tokens: Tensor, *, position: int) -> Tensor:
        """Logits of what comes next, in memory of their own."""
        self._step.load(tokens, position=position)
        self._graph.replay()
        return self._logits.clone()


class StepCapturer:
    """Captures a step for each memory, unless the device has shown that it cannot, or not rightly.

    A memory's tensors must have stayed for a few steps: beams exchange them at each one.
    """

    def __init__(self) -> None:
        self._is_checked = self._is_disabled = False
        self._pool: Any = None

    def step(self, network: Any, tokens: Tensor, cache: Any) -> Tensor:
        """What the plain step gives; the first graph of all is held against it."""
        cache.n_stable_steps += 1
        if self._is_disabled or cache.n_stable_steps < MIN_STABLE_STEPS:
            return self._plain(network, tokens, cache)
        position = cache.n_tokens
        try:
            if cache.captured is None:
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                step = StaticStep(network, cache)
                cache.captured = CapturedStep(step, tokens, position=position, pool=self._pool)
            logits: Tensor = cache.captured(tokens, position=position)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._disable(str(error).partition("\n")[0])
            return self._plain(network, tokens, cache)
        if self._is_checked:
            cache.n_tokens += 1
            return logits
        expected = self._plain(network, tokens, cache)  # writes what the graph wrote
        if not is_close(logits, expected):
            self._disable("its first logits are not those of the plain step")
        self._is_checked = True
        return expected

    @staticmethod
    def _plain(network: Any, tokens: Tensor, cache: Any) -> Tensor:
        logits: Tensor = network.plain_step(tokens, cache)
        return logits

    def _disable(self, reason: str) -> None:
        self._is_disabled = True
        log.warning(
            "the decoder's step cannot be captured; graphs are off",
            extra={"event": "graphs_off", "why": reason},
        )


def is_close(logits: Tensor, expected: Tensor) -> bool:
    """Whether logits are another rounding of the expected ones."""
    furthest = (logits - expected).abs().max()
    return bool(furthest <= TOLERANCE * expected.abs().max())
