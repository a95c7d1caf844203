"""Release the memory of a model that is no longer referenced."""

from __future__ import annotations

import ctypes
import gc

import torch


def release_memory() -> None:
    """Collect garbage, then release torch's cached GPU memory and glibc's free heap memory."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # exists only in glibc
    if trim is not None:
        trim(0)
