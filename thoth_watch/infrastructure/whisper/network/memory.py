"""Return memory to the operating system: of memory-mapped weight files, and of unloaded models."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

MAPS = Path("/proc/self/maps")
DONTNEED = 4  # madvise(2) MADV_DONTNEED: drop the pages; the next access reads the file again


class MappedFiles:
    """The files that are memory-mapped when this is created; safetensors maps a checkpoint's file."""

    def __init__(self) -> None:
        self._ranges = list(_mapped_ranges()) if sys.platform == "linux" else []

    def release(self, tensor: Tensor) -> None:
        """Release the full pages of a tensor in a mapped file; its values do not change.

        Without this, a model that is being converted is in memory twice until the last layer.
        """
        if tensor.device.type != "cpu" or not tensor.numel():
            return
        start, page = tensor.data_ptr(), mmap.PAGESIZE
        stop = start + tensor.numel() * tensor.element_size()
        if not any(low <= start and stop <= high for low, high in self._ranges):
            return
        first, last = -(-start // page) * page, stop // page * page
        if first < last:
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(first), ctypes.c_size_t(last - first), DONTNEED
            )


def trim_heap() -> None:
    """Return freed heap memory to the operating system; does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def release_memory() -> None:
    """Collect garbage, then release torch's cached GPU memory and glibc's free heap memory."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim_heap()


def _mapped_ranges() -> Iterator[tuple[int, int]]:
    """Yield the address range of every private file mapping.

    All files count, because names do not identify weights: in the hub's cache, they are hashes.
    """
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        addresses, permissions, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/") and permissions.endswith("p"):
            low, high = addresses.split("-")
            yield int(low, 16), int(high, 16)
