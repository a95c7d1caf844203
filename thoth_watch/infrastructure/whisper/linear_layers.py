"""Linear layers that compute fastest in each number format: plain, packed once for the CPU, or int8."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

INT8_HALF_RANGE = 127.5  # half of the range from -128 to 127


class Linear(Protocol):
    """Rows times a matrix, plus a bias: shape (..., n_in) to (..., n_out), in its own `dtype`."""

    dtype: torch.dtype  # of what goes in and comes out
    precision: str  # of the weights

    def __call__(self, x: Tensor) -> Tensor:
        """The product."""

    def gelu(self, x: Tensor) -> Tensor:
        """The product through GELU."""


class PlainLinear:
    """torch's own; on devices that need no packing, and where a CPU cannot pack the number format."""

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

    def _multiply(self, x: Tensor, activation: str, algorithm: str) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            x, self._weight, self._bias, activation, [], algorithm
        )
        return product


class Int8Linear:
    """Weights in int8 per output channel; rows are quantised as they come, results are float32.

    CPU only. `quantize` and the one operator below are all that is asked of torch's quantisation.
    """

    dtype = torch.float32
    precision = "int8"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed = quantize(weight, bias)
        self._has_vnni = has_vnni()

    def __call__(self, x: Tensor) -> Tensor:
        """See Linear."""
        # torch's own module gives rows seven bits always, for processors whose sums overflow at eight
        product: Tensor = torch.ops.quantized.linear_dynamic(
            x, self._packed, reduce_range=not self._has_vnni
        )
        return product

    def gelu(self, x: Tensor) -> Tensor:
        """See Linear."""
        return functional.gelu(self(x))


def quantize(weight: Tensor, bias: Tensor | None) -> Any:
    """A weight of shape (n_out, n_in) in int8, symmetric by row, as `quantized::linear_dynamic` takes it.

    torch.ao.quantization, which is deprecated, comes to the same numbers; it held the float32 weights
    until the next garbage collection. What torchao, its successor, does without torch.compile (plain
    operators for the rows, then torch._int_mm) took 1.3 to 2.8 times as long at Whisper's shapes; this
    function and Int8Linear are what changes if these operators leave torch.
    """
    whole = weight.float()
    scales = (whole.abs().amax(dim=1) / INT8_HALF_RANGE).clamp_min(torch.finfo(torch.float32).eps)
    zeros = torch.zeros(len(whole), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's: its quantised tensors are to go
        quantised = torch.quantize_per_channel(whole, scales.double(), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(quantised, None if bias is None else bias.float())


def has_vnni() -> bool:
    """Whether the processor adds products of 8-bit numbers up in 32 bits (VNNI)."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_vnni") or can.get("avx_vnni"))


def can_pack(precision: str) -> bool:
    """Whether torch has the operators that PackedLinear uses, and they take this number format here."""
    operators = torch.ops.mkldnn
    names = ["_reorder_linear_weight", "_linear_pointwise"]
    if precision == "bfloat16":
        names.append("_is_mkldnn_bf16_supported")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(operators, n) for n in names):
        return False
    return precision == "float32" or (
        precision == "bfloat16" and bool(operators._is_mkldnn_bf16_supported())  # noqa: SLF001
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
    if weight.device.type == "cpu" and can_pack(precision):
        return PackedLinear(weight, bias, n_rows=n_rows)
    return PlainLinear(weight, bias)
