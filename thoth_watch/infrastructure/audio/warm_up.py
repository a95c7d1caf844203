"""Load everything that the libraries import lazily, before the worker loses access to files."""

from __future__ import annotations

import os
import pkgutil
import struct
import tempfile
from contextlib import suppress
from importlib import import_module

import av

from thoth_watch.infrastructure.audio.av_source import AvSource
from thoth_watch.infrastructure.audio.decode import FileDecoder, declared_s
from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.pcm import RefusedError
from thoth_watch.infrastructure.audio.sources import CannotOpenError

_RATE_HZ, _N_SAMPLES = 8_000, 800


def warm_up(limits: DecodeLimits) -> None:
    """Import all of PyAV, decode and resample 0.1 s, and trigger one error in each library."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    with tempfile.TemporaryFile() as audio, tempfile.TemporaryFile() as output:
        for content in (_wav(), b"neither audio nor text" * 20):
            os.ftruncate(audio.fileno(), 0)
            os.pwrite(audio.fileno(), content, 0)
            with suppress(
                CannotOpenError
            ):  # FFmpeg alone; FileDecoder below tries libsndfile first
                for _ in (source := AvSource(audio.fileno(), limits)).blocks(1.0):
                    pass
                source.close()
            with suppress(RefusedError):
                declared_s(audio.fileno(), limits)
                FileDecoder(
                    audio.fileno(), output.fileno(), rate_hz=16_000, block_s=1.0, limits=limits
                ).run()


def _wav() -> bytes:
    """Return a WAV file of silence with two channels."""
    data = bytes(_N_SAMPLES * 4)
    shape = struct.pack("<HHIIHH", 1, 2, _RATE_HZ, _RATE_HZ * 4, 4, 16)
    riff = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape
    riff += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(riff)) + riff
