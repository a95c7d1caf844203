"""Decoded samples in an unlinked temporary file: as long as it likes, and none of it in memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref

import numpy as np
from numpy.typing import NDArray

from thoth_watch.domain.errors import RetryLater

SAMPLE_TYPE = np.dtype("<f4")
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_BLOCK_BYTES = 2**20  # beyond the end, so that the last block of the file goes too

_libc = ctypes.CDLL(None, use_errno=True)


class Spool:
    """A temporary file that the worker fills and the engine maps."""

    def __init__(self) -> None:
        try:
            with tempfile.TemporaryFile(prefix="thoth-pcm-") as unlinked:
                self._descriptor = os.dup(unlinked.fileno())
        except OSError as error:
            raise spool_write_error(error) from error
        self._release = weakref.finalize(self, os.close, self._descriptor)

    def fileno(self) -> int:
        """The descriptor that the worker writes to."""
        return self._descriptor

    def samples(self) -> NDArray[np.float32]:
        """Map what was written: float32, shape (n_samples,), read-only."""
        if os.fstat(self._descriptor).st_size < SAMPLE_TYPE.itemsize:
            return np.zeros(0, dtype=SAMPLE_TYPE)
        mapping = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        mapped: NDArray[np.float32] = np.frombuffer(mapping, dtype=SAMPLE_TYPE)
        return mapped

    def close(self) -> None:
        """Give the disk space and the memory back now.

        An array that is still held reads as silence from here on; its mapping goes with it.
        """
        if not self._release.alive:
            return
        whole = ctypes.c_int64(os.fstat(self._descriptor).st_size + _BLOCK_BYTES)
        _libc.fallocate(self._descriptor, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(0), whole)
        self._release()


def spool_write_error(error: OSError) -> RetryLater:
    """What to say when the decoded audio cannot be written."""
    return RetryLater(
        f"no room for decoded audio in {tempfile.gettempdir()} ({error.strerror}): "
        "free some, or set TMPDIR to a larger folder (an hour takes 230 MB)"
    )
