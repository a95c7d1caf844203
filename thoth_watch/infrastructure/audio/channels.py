"""Split a recording into its channels, without those that are silent or copies of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.channels import MAX_SPLIT_CHANNELS, channel_name

SILENCE_RMS = 1e-4  # root mean square relative to full scale: -80 dB
# RMS difference of two copies, relative to the louder channel: -30 dB, the noise of a codec.
DUPLICATE_TOLERANCE = 0.03
BLOCK_SAMPLES = 2**20  # samples compared at a time


def decode_channels(decode: Callable[[int | None], Recording]) -> Recording:
    """Return a recording with its channels under `channels` if two or more differ and are not silent.

    decode: returns one channel, or the mix for None. If only one channel remains, it is returned as
    the recording; the mix of a loud and a silent one would be half as loud.
    """
    first = decode(0)
    n_channels = first.info.source_channels
    if n_channels > MAX_SPLIT_CHANNELS:
        first.close()
        mix = decode(None)
        warning = f"not split: {n_channels} channels; at most {MAX_SPLIT_CHANNELS} can be split"
        return replace(mix, info=replace(mix.info, warnings=(*mix.info.warnings, warning)))
    kept = [(channel_name(0), first)]
    try:
        for index in range(1, n_channels):
            channel = decode(index)
            if any(_is_duplicate(channel.samples, earlier.samples) for _, earlier in kept):
                channel.close()
            else:
                kept.append((channel_name(index), channel))
    except BaseException:
        _close_all(kept)
        raise
    loud = [item for item in kept if not _is_silent(item[1].samples)] or kept[:1]
    _close_all([item for item in kept if not any(item is chosen for chosen in loud)])
    if len(loud) == 1:
        return loud[0][1]
    return replace(loud[0][1], channels=tuple(loud), close=lambda: _close_all(loud))


def _close_all(channels: list[tuple[str, Recording]]) -> None:
    for _, channel in channels:
        channel.close()


def _is_silent(samples: Any) -> bool:
    return _energy(samples) <= SILENCE_RMS**2 * len(samples)


def _is_duplicate(first: Any, second: Any) -> bool:
    """Return True if two channels hold the same audio, also with inverted polarity (wrong wiring)."""
    if len(first) != len(second):
        return False
    louder = max(_energy(first), _energy(second))
    return any(
        _energy(first, plus=sign, addend=second) <= DUPLICATE_TOLERANCE**2 * louder
        for sign in (-1, 1)
    )


def _energy(samples: Any, *, plus: int = 0, addend: Any = None) -> float:
    """Return the sum of squares of `samples + plus * addend`; a memory map is read in blocks."""
    total = 0.0
    for start in range(0, len(samples), BLOCK_SAMPLES):
        block = np.asarray(samples[start : start + BLOCK_SAMPLES], np.float64)
        if plus:
            block = block + plus * addend[start : start + BLOCK_SAMPLES]
        total += float(block @ block)
    return total
