"""Decode with libsndfile: wav, flac, ogg, opus, mp3, aiff and caf, detected by content."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray

from thoth_watch.infrastructure.audio.headers import has_exact_mp3_length, present_ratio
from thoth_watch.infrastructure.audio.sources import (
    MAX_BLOCK_SAMPLES,
    CannotOpenError,
    StreamHeader,
    describe_error,
)

_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU"}
_UNKNOWN_FRAMES = 2**62  # libsndfile reports about 2**63 for a FLAC written to a pipe
_DECODER = f"soundfile {soundfile.__version__} ({soundfile.__libsndfile_version__})"


class SoundfileSource:
    """A recording opened with libsndfile."""

    is_truncated = False  # libsndfile does not report packets
    decode_error: str | None = None

    def __init__(self, descriptor: int) -> None:
        """Open the file. Raises CannotOpenError."""
        os.lseek(descriptor, 0, os.SEEK_SET)  # libsndfile starts at the descriptor's position
        try:
            self._file = soundfile.SoundFile(descriptor, closefd=False)
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            raise CannotOpenError(describe_error(error)) from error
        refusal = self._refusal(descriptor)
        if refusal is not None:
            self._file.close()
            raise CannotOpenError(refusal)
        frames: int = self._file.frames
        is_known = 0 <= frames < _UNKNOWN_FRAMES
        full_s = frames / self._file.samplerate / (present_ratio(descriptor) or 1.0)
        is_flac = self._file.format == "FLAC"
        self.header = StreamHeader(
            rate_hz=self._file.samplerate,
            channels=self._file.channels,
            codec="flac" if is_flac else str(self._file.subtype).lower(),  # such as pcm_16, vorbis
            decoder=_DECODER,
            declared_s=full_s if is_known else None,
            is_exact=True,
        )

    def blocks(self, duration_s: float) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Yield blocks of audio; a wrong length in the header does not matter.

        With such headers `SoundFile.blocks` never ends, and `read()` allocates terabytes.
        """
        frames = round(duration_s * self.header.rate_hz)
        frames = max(1, min(frames, MAX_BLOCK_SAMPLES // self.header.channels))
        while len(block := self._file.read(frames, dtype="float32", always_2d=True)):
            yield block, self.header.rate_hz

    def close(self) -> None:
        """Free libsndfile's memory."""
        self._file.close()

    def _refusal(self, descriptor: int) -> str | None:
        """Return the reason to use another library for a file that libsndfile opened, or None."""
        if self._file.format not in _FORMATS:
            return f"{self._file.format} is not a supported format"
        if self._file.format == "MP3" and not has_exact_mp3_length(descriptor):
            return "an MP3 without a reliable length"
        if self._file.samplerate < 1:
            return "the header has no sample rate"
        return None
