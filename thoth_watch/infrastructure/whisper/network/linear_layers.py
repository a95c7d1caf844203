"""Linear layers for each precision: plain, with weights packed once for the CPU, or quantized to int8."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

INT8_HALF_RANGE = 127.5  # half of the int8 range, -128 to 127


class Linear(Protocol):
    """A linear layer: maps (..., n_in) to (..., n_out)."""

    dtype: torch.dtype  # of its inputs and outputs
    precision: str  # of its weights

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ weight.T + bias`, in the layer's dtype."""

    def gelu(self, x: Tensor) -> Tensor:
        """Return GELU of the layer's output."""


class PlainLinear:
    """torch's linear layer, for devices that need no packing and precisions that this CPU cannot pack."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias
        self.dtype = weight.dtype
        self.precision = str(weight.dtype).removeprefix("torch.")

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ weight.T + bias`."""
        return functional.linear(x, self._weight, self._bias)

    def gelu(self, x: Tensor) -> Tensor:
        """Return GELU of the layer's output."""
        return functional.gelu(self(x))


class PackedLinear(PlainLinear):
    """A linear layer with weights in oneDNN's blocked layout, packed once instead of in each call; CPU only.

    Uses operators that torch.compile emits. They are not public, so call `can_pack` first.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, n_rows: int) -> None:
        """Pack a weight of shape (n_out, n_in).

        n_rows: the usual number of input rows per call; it affects only speed.
        """
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), n_rows)  # noqa: SLF001
        super().__init__(packed, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ weight.T + bias`."""
        return self._multiply(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """Return GELU of the layer's output, computed by one fused operator."""
        return self._multiply(x, "gelu", "none")

    def _multiply(self, x: Tensor, activation: str, algorithm: str) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            x, self._weight, self._bias, activation, [], algorithm
        )
        return product


class Int8Linear:
    """A linear layer with per-channel int8 weights and dynamically quantized inputs; outputs are float32.

    CPU only. Apart from `quantize`, it uses one operator of torch's quantization.
    """

    dtype = torch.float32
    precision = "int8"

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed = quantize(weight, bias)
        self._has_vnni = has_vnni()

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ weight.T + bias`, float32."""
        # torch's own module always quantizes inputs to seven bits, because without VNNI the sums of
        # 8-bit products can overflow
        product: Tensor = torch.ops.quantized.linear_dynamic(
            x, self._packed, reduce_range=not self._has_vnni
        )
        return product

    def gelu(self, x: Tensor) -> Tensor:
        """Return GELU of the layer's output, float32."""
        return functional.gelu(self(x))


def quantize(weight: Tensor, bias: Tensor | None) -> Any:
    """Quantize a weight, shape (n_out, n_in), to symmetric per-channel int8 for `quantized::linear_dynamic`.

    torch.ao.quantization gives the same numbers, but is deprecated and kept the float32 weights in memory
    until the next garbage collection. Its successor torchao, without torch.compile (plain operators to
    quantize the rows, then torch._int_mm), took 1.3 to 2.8 times as long at Whisper's shapes. If these
    operators are removed from torch, only this function and Int8Linear have to change.
    """
    full = weight.float()
    scales = (full.abs().amax(dim=1) / INT8_HALF_RANGE).clamp_min(torch.finfo(torch.float32).eps)
    zero_points = torch.zeros(len(full), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its quantized tensors
        quantized = torch.quantize_per_channel(full, scales.double(), zero_points, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(quantized, None if bias is None else bias.float())


def has_vnni() -> bool:
    """Return True if the processor accumulates 8-bit products in 32 bits (VNNI)."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_vnni") or capabilities.get("avx_vnni"))


def can_pack(precision: str) -> bool:
    """Return True if this torch and processor can pack weights of this precision (see PackedLinear)."""
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
    """Return the fastest layer for a weight of shape (n_out, n_in), on the weight's device.

    precision: float32, float16, bfloat16 or int8. n_rows: the usual number of input rows per call.
    """
    if precision == "int8":
        return Int8Linear(weight, bias)
    dtype = getattr(torch, precision)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if weight.device.type == "cpu" and can_pack(precision):
        return PackedLinear(weight, bias, n_rows=n_rows)
    return PlainLinear(weight, bias)
