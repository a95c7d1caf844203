"""Makes linear layers compute in 8-bit integers: the only place that knows how."""

from __future__ import annotations

import warnings

import torch
from torch import nn


def quantise_linears(module: nn.Module) -> nn.Module:
    """Replace every linear layer in `module` by one with int8 weights, per channel; CPU only.

    Activations are quantised as they come and results are float32 again, so the rest of the module
    must be float32. torch.ao.quantization is deprecated in favour of torchao, which is another
    dependency; when it leaves torch, this function is what changes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.ao.quantization
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)  # the same
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(
            module,
            {nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig},
            dtype=torch.qint8,
            inplace=True,
        )
    return quantised


def has_int8_linears(module: nn.Module) -> bool:
    """Whether linear layers of `module` hold int8 weights."""
    return any(isinstance(m, torch.ao.nn.quantized.dynamic.Linear) for m in module.modules())
