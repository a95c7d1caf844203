"""The device map: accelerate offloads a model that is larger than its device to other devices, CPU and disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.utils import compute_module_sizes, get_max_memory, infer_auto_device_map
from transformers import WhisperForConditionalGeneration

MemoryBudget = Mapping[int | str, int | str]
MEMORY_SHARE = 0.9  # share of a device's free memory for weights; the rest is for activations


def device_map_for(
    config: Any, *, device: torch.device, dtype: torch.dtype, max_memory: MemoryBudget | None
) -> dict[str, Any]:
    """Return the device map: all of the model on `device` if it fits, else accelerate's inferred map.

    config: a WhisperConfig. max_memory: bytes, or text such as `1GiB`, by device number or
    name (`cpu`); None: the memory that is free now.
    """
    with init_empty_weights():
        model = WhisperForConditionalGeneration(config)
    model.tie_weights()
    budget = _memory_budget(device, max_memory)
    available = budget.get(_memory_key(device))
    if available is None or compute_module_sizes(model, dtype=dtype)[""] <= available:
        return {"": device}
    no_split = model._no_split_modules  # noqa: SLF001 - transformers' list; it has no public name
    device_map: dict[str, Any] = infer_auto_device_map(
        model, max_memory=budget, no_split_module_classes=no_split, dtype=dtype
    )
    return device_map


def _memory_budget(device: torch.device, max_memory: MemoryBudget | None) -> dict[int | str, int]:
    budget: dict[int | str, int] = get_max_memory(dict(max_memory) if max_memory else None)
    if max_memory is None:
        budget = {key: int(size * MEMORY_SHARE) for key, size in budget.items()}
    if device.type == "cpu":
        return {key: size for key, size in budget.items() if key == "cpu"}
    return budget


def _memory_key(device: torch.device) -> int | str:
    key: int | str = device.type if device.index is None else device.index
    return key
