"""The interface of the decoding libraries: an open recording that yields blocks of audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MAX_BLOCK_SAMPLES = 2**22  # 16 MiB of float32, for every sample rate and channel count
_MAX_ERROR_CHARACTERS = 160


class CannotOpenError(Exception):
    """The library cannot open this file; the message is the library's."""


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """The facts of the audio track that are known before it is decoded."""

    rate_hz: int  # at the beginning of the file
    channels: int  # at the beginning of the file
    codec: str  # short name
    decoder: str  # name and version of the library
    declared_s: float | None  # None if the header has no length
    is_exact: bool  # `declared_s` is counted, not estimated from the bit rate


class Source(Protocol):
    """A recording opened by one of the libraries."""

    @property
    def header(self) -> StreamHeader:
        """The facts known before decoding."""

    @property
    def decode_error(self) -> str | None:
        """Description of the damage found in the audio so far, or None."""

    @property
    def is_truncated(self) -> bool:
        """True if the file ended within an audio packet."""

    def blocks(self, duration_s: float) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Yield blocks of about `duration_s` seconds: float32, shape (frames, channels), and the rate in Hz."""

    def close(self) -> None:
        """Free the library's memory; the descriptor stays open."""


def describe_error(error: Exception) -> str:
    """Return a library's error text on one line, cut to 160 characters."""
    message = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    text = " ".join(str(message or f"{type(error).__name__}: {error}").split())
    return text[:_MAX_ERROR_CHARACTERS].rstrip(".")
