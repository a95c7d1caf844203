"""What this machine could do at best: its rate of multiplying and the work in a window."""

from __future__ import annotations

import time

import torch

from benchmarks.checkpoints import Shape

N = 2048
POSITIONS = 1500


def multiply_rate(precision: str, device: str, *, repeats: int = 5) -> float:
    """Floating-point operations a second of a large matrix product, the best of a few tries."""
    dtype = torch.bfloat16 if "bfloat16" in precision else torch.float32
    where = "cuda" if device == "cuda" else "cpu"
    a, b = (torch.randn(N, N, device=where).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(repeats):
        started = time.process_time() if where == "cpu" else time.monotonic()
        a @ b
        if where == "cuda":
            torch.cuda.synchronize()
            took = time.monotonic() - started
        else:
            took = time.process_time() - started
        best = max(best, 2 * N**3 / took)
    return best


def window_operations(shape: Shape, *, positions: int, n_tokens: float) -> float:
    """Floating-point operations to encode a window and to generate its tokens."""
    width = shape.width
    layer = 2 * 12 * width**2 * positions + 4 * positions**2 * width
    convolutions = 2 * 3 * positions * (2 * shape.n_mels * width + width**2)
    memory = 2 * 2 * width**2 * positions * shape.decoder_layers
    token = shape.decoder_layers * (2 * 14 * width**2 + 4 * positions * width)
    token += 2 * shape.vocabulary * width
    return shape.encoder_layers * layer + convolutions + memory + n_tokens * token
