"""Decoded samples in an unlinked temporary file, so that long recordings need no memory."""

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
_BLOCK_BYTES = 2**20  # past the end, so that the file's last block is freed too

_libc = ctypes.CDLL(None, use_errno=True)


class Spool:
    """A temporary file that the worker fills and the engine maps into memory."""

    def __init__(self) -> None:
        try:
            with tempfile.TemporaryFile(prefix="thoth-pcm-") as unlinked:
                self._descriptor = os.dup(unlinked.fileno())
        except OSError as error:
            raise spool_write_error(error) from error
        self._release = weakref.finalize(self, os.close, self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor that the worker writes to."""
        return self._descriptor

    def samples(self) -> NDArray[np.float32]:
        """Map the written samples: float32, shape (n_samples,), read-only."""
        if os.fstat(self._descriptor).st_size < SAMPLE_TYPE.itemsize:
            return np.zeros(0, dtype=SAMPLE_TYPE)
        mapping = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        mapped: NDArray[np.float32] = np.frombuffer(mapping, dtype=SAMPLE_TYPE)
        return mapped

    def close(self) -> None:
        """Free the disk space and the memory now.

        An array that is still referenced reads as silence from now on; its mapping ends with it.
        """
        if not self._release.alive:
            return
        length = ctypes.c_int64(os.fstat(self._descriptor).st_size + _BLOCK_BYTES)
        _libc.fallocate(self._descriptor, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(0), length)
        self._release()


def spool_write_error(error: OSError) -> RetryLater:
    """Return the error for decoded audio that cannot be written."""
    return RetryLater(
        f"cannot write decoded audio to {tempfile.gettempdir()} ({error.strerror}): "
        "free disk space there, or set TMPDIR to a larger folder (an hour takes 230 MB)"
    )
