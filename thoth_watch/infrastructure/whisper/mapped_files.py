"""Gives memory back that a weight file's pages take after they have been read."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

MAPS = Path("/proc/self/maps")
DONTNEED = 4  # madvise(2): the pages are read from the file again where they are wanted again


class MappedFiles:
    """The files that are mapped into memory now; a checkpoint is loaded as such a map."""

    def __init__(self) -> None:
        self._spans = list(_spans()) if sys.platform == "linux" else []

    def release(self, tensor: Tensor) -> None:
        """Give back a tensor's whole pages if it lies in a file; its values stay what they are.

        Without it a model that is converted is in memory twice until the last layer is done.
        """
        if tensor.device.type != "cpu" or not tensor.numel():
            return
        start, page = tensor.data_ptr(), mmap.PAGESIZE
        stop = start + tensor.numel() * tensor.element_size()
        if not any(low <= start and stop <= high for low, high in self._spans):
            return
        first, last = -(-start // page) * page, stop // page * page
        if first < last:
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(first), ctypes.c_size_t(last - first), DONTNEED
            )


def trim_heap() -> None:
    """Give memory that was freed back to the system, where it is glibc that keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _spans() -> Iterator[tuple[int, int]]:
    """Where files are mapped privately. Their names say nothing: a hub's are those of its blobs."""
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/") and rights.endswith("p"):
            low, high = place.split("-")
            yield int(low, 16), int(high, 16)
