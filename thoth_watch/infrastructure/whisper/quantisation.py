"""Makes linear layers compute in 8-bit integers: the only place that knows how."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.ao import quantization
from torch.ao.nn.quantized.dynamic import Linear as Int8Linear


def quantise_linears(module: nn.Module) -> None:
    """Replace every linear layer inside `module` by one with int8 weights, per channel; CPU only.

    Activations are quantised as they come and results are float32 again, so the rest of the module
    must be float32. torch.ao.quantization is deprecated in favour of torchao, which is another
    dependency; when it leaves torch, this function is what changes.
    """
    untyped: Any = quantization
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.ao.quantization
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)  # the same
        untyped.quantize_dynamic(
            module,
            {nn.Linear: untyped.per_channel_dynamic_qconfig},
            dtype=torch.qint8,
            inplace=True,
        )


def has_int8_linears(module: nn.Module) -> bool:
    """Whether linear layers of `module` hold int8 weights."""
    return any(isinstance(m, Int8Linear) for m in module.modules())
