"""Gives the memory of a model that nobody holds any more back to the system."""

from __future__ import annotations

import ctypes
import gc

import torch


def release_memory() -> None:
    """Free what is unreachable; on a GPU what torch keeps for later, on Linux what the C library keeps."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
