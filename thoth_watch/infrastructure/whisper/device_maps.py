"""Spreads a model that is larger than its device over devices, CPU and disk, by accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.utils import compute_module_sizes, get_max_memory, infer_auto_device_map
from transformers import WhisperForConditionalGeneration

MemoryBudget = Mapping[int | str, int | str]
MEMORY_SHARE = 0.9  # of a device's free memory; the rest is for what is computed


def device_map_for(
    config: Any, *, device: torch.device, dtype: torch.dtype, max_memory: MemoryBudget | None
) -> dict[str, Any]:
    """Which part of the model goes where: all of it on `device` if it fits, else accelerate's map.

    config: a WhisperConfig. max_memory: bytes, or text such as `1GiB`, by device number or
    name (`cpu`); None: what is free now.
    """
    with init_empty_weights():
        model = WhisperForConditionalGeneration(config)
    model.tie_weights()
    memory = _memory_budget(device, max_memory)
    own = memory.get(_key(device))
    if own is None or compute_module_sizes(model, dtype=dtype)[""] <= own:
        return {"": device}
    whole = model._no_split_modules  # noqa: SLF001 - transformers' own list; it has no public name
    spread: dict[str, Any] = infer_auto_device_map(
        model, max_memory=memory, no_split_module_classes=whole, dtype=dtype
    )
    return spread


def _memory_budget(device: torch.device, max_memory: MemoryBudget | None) -> dict[int | str, int]:
    known: dict[int | str, int] = get_max_memory(dict(max_memory) if max_memory else None)
    if max_memory is None:
        known = {key: int(size * MEMORY_SHARE) for key, size in known.items()}
    if device.type == "cpu":
        return {key: size for key, size in known.items() if key == "cpu"}
    return known


def _key(device: torch.device) -> int | str:
    key: int | str = device.type if device.index is None else device.index
    return key
