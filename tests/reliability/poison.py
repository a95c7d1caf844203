"""Imported by a decode worker before it begins: recordings that end with `POISON code` have it run."""

from __future__ import annotations

import os
import signal
import time

from thoth_watch.infrastructure.audio import decode

_run = decode.FileDecoder.run


def run(self: decode.FileDecoder) -> decode.DecodedAudio:
    """Decode, or do what the file says."""
    size = os.fstat(self._descriptor).st_size
    tail = os.pread(self._descriptor, 64, max(0, size - 64))
    if tail.startswith(b"POISON "):
        exec(tail[7:].decode(), {"os": os, "signal": signal, "time": time})
    return _run(self)


decode.FileDecoder.run = run  # type: ignore[method-assign]
