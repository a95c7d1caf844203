"""CUDA graph capture and replay of a decoder step, whose time on a GPU is mostly kernel launches."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from thoth_watch.infrastructure.whisper.network.kv_cache import KVCache

log = logging.getLogger(__name__)

MIN_STABLE_STEPS = 3  # steps over the same tensors before capturing a graph pays off
# accepted difference between the graph's logits and the plain step's, as a share of the largest
# logit; half precision rounds differently
TOLERANCE = 0.02

GraphPool = tuple[int, int]  # torch's handle of a memory pool


class CapturableDecoder(Protocol):
    """A decoder whose single-token step also exists with tensors of fixed shapes only."""

    def plain_step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Read tokens, shape (n, k), into the cache; return the next token's logits."""

    def static_step(
        self, tokens: Tensor, cache: KVCache, *, position: Tensor, seen: Tensor
    ) -> Tensor:
        """Read one token per row at a position that is a tensor; return the next token's logits.

        position: shape (1,). seen: attention mask, shape (max_tokens,). Does not update `cache.n_tokens`.
        """


class StaticStep:
    """A decoder step over tensors with fixed shapes and addresses, as graph capture requires.

    It reads one token per row at a position that is itself a tensor, and attends to the whole KV cache
    with the unwritten part masked out. Runs on every device; only `CapturedStep` needs CUDA.
    """

    def __init__(self, network: CapturableDecoder, cache: KVCache) -> None:
        """Prepare a step over a KV cache whose tensors are not replaced from now on."""
        self._network = network
        self._cache = replace(cache, captured=None)  # same tensors, without a reference cycle
        keys, _ = cache.self_attention[0]
        for part in (tensor for layer in cache.self_attention for tensor in layer):
            # masked positions get weight 0, but 0 times an uninitialized NaN would be NaN
            part[:, :, cache.n_tokens :] = 0
        self._tokens = torch.zeros((len(keys), 1), dtype=torch.long, device=keys.device)
        self._position = torch.zeros(1, dtype=torch.long, device=keys.device)
        self._positions = torch.arange(keys.shape[2], device=keys.device)

    def load(self, tokens: Tensor, *, position: int) -> None:
        """Set the tokens of the next step, shape (n, 1), and their position."""
        self._tokens.copy_(tokens)
        self._position.fill_(position)

    def compute(self) -> Tensor:
        """Return the next token's logits: float32, (n, vocabulary)."""
        return self._network.static_step(
            self._tokens,
            self._cache,
            position=self._position,
            seen=self._positions <= self._position,
        )


class CapturedStep:
    """A StaticStep captured in a CUDA graph."""

    def __init__(self, step: StaticStep, tokens: Tensor, *, position: int, pool: GraphPool) -> None:
        """Capture the step on a side stream, after one warm-up run.

        tokens, position: input of the first replay; the warm-up may read the same input because it
        writes the same keys and values. pool: memory pool that graphs share.
        """
        self._step = step
        step.load(tokens, position=position)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step.compute()  # warm-up: libraries initialize lazily, which cannot be captured
            self._graph = torch.cuda.CUDAGraph()
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self._logits = step.compute()
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(side)

    def __call__(self, tokens: Tensor, *, position: int) -> Tensor:
        """Replay the graph; return a copy of the next token's logits, float32, (n, vocabulary)."""
        self._step.load(tokens, position=position)
        self._graph.replay()
        return self._logits.clone()


class StepCapturer:
    """Captures one graph per KV cache, until a capture fails or gives wrong logits.

    A cache is captured only after a few steps without new tensors: beam search replaces them at
    every step.
    """

    def __init__(self) -> None:
        self._is_checked = self._is_disabled = False
        self._pool: GraphPool | None = None

    def step(self, network: CapturableDecoder, tokens: Tensor, cache: KVCache) -> Tensor:
        """Run a step, by graph replay if possible; return the logits, float32, (n, vocabulary).

        The logits of the first replay are compared with those of the plain step.
        """
        cache.n_stable_steps += 1
        if self._is_disabled or cache.n_stable_steps < MIN_STABLE_STEPS:
            return network.plain_step(tokens, cache)
        position = cache.n_tokens
        try:
            if cache.captured is None:
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                step = StaticStep(network, cache)
                cache.captured = CapturedStep(step, tokens, position=position, pool=self._pool)
            logits = cache.captured(tokens, position=position)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._disable(str(error).partition("\n")[0])
            return network.plain_step(tokens, cache)
        if self._is_checked:
            cache.n_tokens += 1
            return logits
        expected = network.plain_step(tokens, cache)  # overwrites the graph's keys and values
        if not is_close(logits, expected):
            self._disable("the first replay's logits differ from those of the plain step")
        self._is_checked = True
        return expected

    def _disable(self, reason: str) -> None:
        self._is_disabled = True
        log.warning(
            "CUDA graph of the decoder step failed; decoding continues without graphs",
            extra={"event": "graphs_off", "why": reason},
        )


def is_close(logits: Tensor, expected: Tensor) -> bool:
    """Return True if logits equal the expected ones up to rounding (`TOLERANCE`)."""
    max_difference = (logits - expected).abs().max()
    return bool(max_difference <= TOLERANCE * expected.abs().max())
