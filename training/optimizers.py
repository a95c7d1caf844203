"""AdamW and Muon without torch.optim's base class, whose first use imports torch._dynamo.

Both keep their state in plain lists and update all tensors of a list in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

# Keller Jordan's quintic, as in torch.optim.Muon.
_A, _B, _C = 3.4445, -4.7750, 2.0315
NEWTON_SCHULZ_STEPS = 5
State = dict[str, object]


def orthogonalize(stack: Tensor) -> Tensor:
    """Push the singular values of each matrix towards 1; shape (n, rows, columns), bfloat16."""
    x = stack.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.transpose(1, 2) if tall else x


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]


class AdamW:
    """AdamW without weight decay of vectors."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.03,
    ) -> None:
        self._parameters = list(parameters)
        self._decayed = [p for p in self._parameters if p.ndim > 1]
        self._betas, self._weight_decay = betas, weight_decay
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._step = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters from their gradients."""
        self._step += 1
        first, second = self._betas
        gradients = _gradients(self._parameters)
        torch._foreach_lerp_(self._means, gradients, 1 - first)
        torch._foreach_mul_(self._squares, second)
        torch._foreach_addcmul_(self._squares, gradients, gradients, 1 - second)
        scale = torch._foreach_sqrt(self._squares)  # noqa: SLF001 - no public name
        torch._foreach_div_(scale, (1 - second**self._step) ** 0.5)
        torch._foreach_add_(scale, 1e-8)
        torch._foreach_mul_(self._decayed, 1 - rate * self._weight_decay)
        size = -rate / (1 - first**self._step)
        torch._foreach_addcdiv_(self._parameters, self._means, scale, size)

    def state_dict(self) -> State:
        """Return the state for a checkpoint."""
        return {"means": self._means, "squares": self._squares, "step": self._step}

    def load_state_dict(self, state: State) -> None:
        """Restore the state of a checkpoint."""
        self._means, self._squares = state["means"], state["squares"]  # type: ignore[assignment]
        self._step = state["step"]  # type: ignore[assignment]


class Muon:
    """Muon: orthogonalized Nesterov momentum, scaled to the size of AdamW's updates."""

    def __init__(
        self, matrices: Sequence[Tensor], *, momentum: float = 0.95, weight_decay: float = 0.03
    ) -> None:
        ordered = sorted(matrices, key=lambda p: tuple(p.shape))
        by_shape = groupby(ordered, key=lambda p: tuple(p.shape))
        self._groups = [(shape, list(members)) for shape, members in by_shape]
        self._averages = [[torch.zeros_like(p) for p in group] for _, group in self._groups]
        self._momentum, self._weight_decay = momentum, weight_decay

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the matrices from their gradients, all matrices of a shape in one call."""
        for (shape, matrices), averages in zip(self._groups, self._averages, strict=True):
            gradients = _gradients(matrices)
            torch._foreach_lerp_(averages, gradients, 1 - self._momentum)
            lookahead = torch._foreach_lerp(gradients, averages, self._momentum)  # noqa: SLF001 - no public name
            update = orthogonalize(torch.stack(list(lookahead))).float()
            torch._foreach_mul_(matrices, 1 - rate * self._weight_decay)
            size = -rate * 0.2 * max(shape) ** 0.5
            torch._foreach_add_(matrices, list(update.unbind()), alpha=size)

    def state_dict(self) -> State:
        """Return the state for a checkpoint."""
        return {"averages": self._averages}

    def load_state_dict(self, state: State) -> None:
        """Restore the state of a checkpoint."""
        self._averages = state["averages"]  # type: ignore[assignment]
