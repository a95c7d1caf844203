"""Linear layers that compute fastest in each number format: plain, packed once for the CPU, or int8."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn import functional


class Linear(Protocol):
    """Rows times a matrix, plus a bias: shape (..., n_in) to (..., n_out), in its own `dtype`."""

    dtype: torch.dtype  # of what goes in and comes out
    precision: str  # of the weights

    def __call__(self, x: Tensor) -> Tensor:
        """The product."""

    def gelu(self, x: Tensor) -> Tensor:
        """The product through GELU."""


class PlainLinear:
    """torch's own; on devices that need no packing."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias
        self.dtype = weight.dtype
        self.precision = str(weight.dtype).removeprefix("torch.")

    def __call__(self, x: Tensor) -> Tensor:
        """See Linear."""
        return functional.linear(x, self._weight, self._bias)

    def gelu(self, x: Tensor) -> Tensor:
        """See Linear."""
        return functional.gelu(self(x))


class PackedLinear(PlainLinear):
    """Weights in oneDNN's own order, which torch otherwise makes anew in each call; CPU only.

    Uses operators that torch.compile emits; they have no public name, so `can_pack` is asked first.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, n_rows: int) -> None:
        """n_rows: how many rows most calls have; only speed depends on it."""
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), n_rows)  # noqa: SLF001
        super().__init__(packed, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """See Linear."""
        return self._multiply(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """See Linear."""
        return self._multiply(x, "gelu", "none")

    def _multiply(self, x: Tensor, then: str, algorithm: str) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            x, self._weight, self._bias, then, [], algorithm
        )
        return product


class Int8Linear:
    """Weights in int8 per output channel; rows are quantised as they come, results are float32.

    torch.ao.quantization is deprecated in favour of torchao, another large dependency; when it leaves
    torch, this class is what changes. CPU only.
    """

    dtype = torch.float32
    precision = "int8"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        layer.weight = nn.Parameter(weight.float(), requires_grad=False)
        if bias is not None:
            layer.bias = nn.Parameter(bias.float(), requires_grad=False)
        untyped: Any = quantization
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.ao.quantization
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)  # the same
            quantised = untyped.quantize_dynamic(
                nn.Sequential(layer),
                {nn.Linear: untyped.per_channel_dynamic_qconfig},
                dtype=torch.qint8,
                inplace=True,
            )[0]
        self._packed = quantised._packed_params._packed_params  # noqa: SLF001 - see below
        self._has_room = has_int8_sums()

    def __call__(self, x: Tensor) -> Tensor:
        """See Linear."""
        # torch's own module gives rows seven bits always, for processors whose sums overflow at eight
        product: Tensor = torch.ops.quantized.linear_dynamic(
            x, self._packed, reduce_range=not self._has_room
        )
        return product

    def gelu(self, x: Tensor) -> Tensor:
        """See Linear."""
        return functional.gelu(self(x))


def has_int8_sums() -> bool:
    """Whether the processor adds products of 8-bit numbers up in 32 bits (VNNI)."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_vnni") or can.get("avx_vnni"))


def can_pack() -> bool:
    """Whether torch was built with the operators that PackedLinear uses."""
    operators = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(
        hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def build_linear(weight: Tensor, bias: Tensor | None, *, precision: str, n_rows: int) -> Linear:
    """The fastest layer for a weight of shape (n_out, n_in), where the weight lies.

    precision: float32, float16, bfloat16 or int8. n_rows: rows of most calls.
    """
    if precision == "int8":
        return Int8Linear(weight, bias)
    dtype = getattr(torch, precision)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if weight.device.type == "cpu" and precision != "float16" and can_pack():
        return PackedLinear(weight, bias, n_rows=n_rows)
    return PlainLinear(weight, bias)
