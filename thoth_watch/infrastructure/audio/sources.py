"""What the decoders have in common: an opened recording that gives blocks of sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MAX_BLOCK_SAMPLES = 2**22  # 16 MiB of float32, whatever rate and channels a file has
_MAX_ERROR_CHARACTERS = 160


class CannotOpenError(Exception):
    """This library does not read this file; the message is the library's."""


class Source(Protocol):
    """A recording opened by one of the libraries."""

    @property
    def declared_s(self) -> float | None:
        """Seconds of sound by the header; None where it does not say."""

    @property
    def is_exact(self) -> bool:
        """Whether `declared_s` is counted, not guessed from the bit rate."""

    @property
    def rate_hz(self) -> int:
        """Frames per second, at the beginning."""

    @property
    def channels(self) -> int:
        """Channels, at the beginning."""

    @property
    def codec(self) -> str:
        """Short name of the coding."""

    @property
    def decoder(self) -> str:
        """Library with version."""

    @property
    def decode_error(self) -> str | None:
        """What was wrong within the sound, so far."""

    @property
    def is_truncated(self) -> bool:
        """Whether the file ended within a packet of sound."""

    def blocks(self, duration_s: float) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Sound in blocks of about that many seconds: float32 (frames, channels), and its rate."""

    def close(self) -> None:
        """Free the library's memory; the descriptor stays open."""


def describe_error(error: Exception) -> str:
    """A library's error in its own words, on one line."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    text = " ".join(str(words or f"{type(error).__name__}: {error}").split())
    return text[:_MAX_ERROR_CHARACTERS].rstrip(".")
