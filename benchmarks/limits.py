"""The machine's upper speed limit: its measured rates and the work in a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.checkpoints import Shape

N = 2048
POSITIONS = 1500
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}  # bytes of a weight


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations per second of large matrix products, by number format, and bytes read per second."""

    products: dict[str, float]
    bytes_read: float


def measure_rates(device: str) -> Rates:
    """Measure the rates on `cpu` (with torch's current number of threads) or `cuda`."""
    kind = "cuda" if device == "cuda" else "cpu"
    floats = [torch.randn(N, N, device=kind) for _ in range(2)]
    products = {}
    for name in ("float32", "bfloat16", "float16"):
        a, b = (x.to(getattr(torch, name)) for x in floats)
        if kind == "cuda" or name != "float16":
            products[name] = 2 * N**3 / _best_s(partial(torch.matmul, a, b), kind)
    small = [torch.randint(-127, 127, (N, N), dtype=torch.int8, device=kind) for _ in range(2)]
    products["int8"] = 2 * N**3 / _best_s(lambda: torch._int_mm(*small), kind)  # noqa: SLF001 - no public name
    large = torch.ones(64 * 2**20, device=kind)
    return Rates(products, large.numel() * 4 / _best_s(large.sum, kind))


def _best_s(work: Callable[[], Any], kind: str, *, repeats: int = 5) -> float:
    """Return the shortest of a few runs: CPU seconds on a CPU, wall seconds on a GPU."""
    clock = time.process_time if kind == "cpu" else time.monotonic
    best = float("inf")
    for _ in range(repeats):
        started = clock()
        work()
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - started)
    return best


def window_limit_s(
    shape: Shape, rates: Rates, *, precision: str, positions: float, n_tokens: float, batch: int
) -> float:
    """Return the seconds for a window at these rates: encoder products, decoder products or reads.

    precision: the encoder's and the decoder's, joined by + if they differ; an int8 encoder's
    attention counts as bfloat16. batch: number of windows that share the decoder's weights in a step.
    """
    encoder, _, decoder = precision.partition("+")
    decoder = decoder or encoder
    width = shape.width
    linears = shape.encoder_layers * 2 * 12 * width**2 * positions
    linears += 2 * 3 * positions * (2 * shape.n_mels * width + width**2)  # convolutions
    linears += 2 * 2 * width**2 * positions * shape.decoder_layers  # keys and values
    attention = shape.encoder_layers * 4 * positions**2 * width
    attention_precision = "bfloat16" if encoder == "int8" else encoder
    encode_s = linears / rates.products[encoder] + attention / rates.products[attention_precision]
    weights = shape.decoder_layers * 14 * width**2 + shape.vocabulary * width
    keys = shape.decoder_layers * 2 * positions * width
    reads = weights * SIZES[decoder] / batch + keys * (4 if decoder == "int8" else SIZES[decoder])
    products = 2 * (weights + keys)
    token_s = max(reads / rates.bytes_read, products / rates.products[decoder])
    return encode_s + n_tokens * token_s
