"""Convert decoded audio block by block to the engine's format: mono, one rate, float32 in [-1, 1]."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from thoth_watch.infrastructure.audio.limits import DecodeLimits

_MAX_AMPLITUDE = 8.0  # times full scale; a float file above that was not scaled to [-1, 1]
_MAX_BAD_RATIO = 0.01  # share of samples that are NaN or infinite


class SpoolError(Exception):
    """The decoded audio could not be written; the disk is at fault, not the file."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)


class RefusedError(Exception):
    """The audio is not decoded, for the reason in the message."""


class PcmWriter:
    """Mixes, repairs and resamples the blocks of one recording and writes them to a descriptor."""

    def __init__(
        self, descriptor: int, *, rate_hz: int, limits: DecodeLimits, channel: int | None = None
    ) -> None:
        """channel: index of the only channel that is written; None: the mean of all channels."""
        self._channel = channel
        self._descriptor = descriptor
        self.rate_hz = rate_hz
        self._limits = limits
        self._source_rate_hz = 0
        self.restart()

    def restart(self) -> None:
        """Discard what was written, so that the file can be decoded again in another way."""
        self._resampler: Any = None
        self._source_rate_hz = 0
        self._samples_in = self._samples_bad = self.samples_out = 0
        self._read_s = self._peak = 0.0
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    @property
    def decoded_s(self) -> float:
        """Seconds of audio received so far, at the source's own rate."""
        return self._read_s

    def write(self, block: NDArray[np.float32], *, rate_hz: int) -> None:
        """Convert and write the next block of audio: float32, shape (frames, channels).

        Raises RefusedError when the recording is too long, SpoolError when writing fails.
        """
        if rate_hz != self._source_rate_hz:
            self._change_rate(rate_hz)
        self._read_s += len(block) / rate_hz
        if self._read_s > self._limits.decoded_s:
            hours = self._limits.decoded_s / 3600
            raise RefusedError(f"longer than {hours:g} hours: split the recording")
        self._resample_and_write(self._repair(self._mix_to_mono(block)), last=False)

    def finish(self) -> tuple[str, ...]:
        """Write what the resampler still holds; return warnings.

        Raises RefusedError when too many samples are NaN or infinite.
        """
        self._flush_resampler()
        warnings = []
        if self._samples_bad:
            share = self._samples_bad / self._samples_in
            if share > _MAX_BAD_RATIO:
                raise RefusedError(
                    f"{share:.0%} of the samples are not numbers (NaN or infinite):"
                    " export the recording again"
                )
            warnings.append(
                f"repaired: {self._samples_bad} samples are not numbers; replaced by silence"
            )
        if self._peak > _MAX_AMPLITUDE:
            warnings.append(f"clipped: samples up to {self._peak:.3g} times full scale")
        return tuple(warnings)

    def _mix_to_mono(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the selected channel or the mean; silence if the block has too few channels."""
        if self._channel is None:
            return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if self._channel < block.shape[1]:
            return block[:, self._channel]
        return np.zeros(len(block), np.float32)

    def _repair(self, mono: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the block without NaN, infinite and absurdly large values; count the bad ones."""
        self._samples_in += len(mono)
        peak = float(np.abs(mono).max(initial=0.0))
        if peak <= _MAX_AMPLITUDE:  # false for NaN too
            return mono
        finite = np.isfinite(mono)
        self._samples_bad += len(mono) - int(np.count_nonzero(finite))
        mono = np.where(finite, mono, np.float32(0))
        self._peak = max(self._peak, float(np.abs(mono).max(initial=0.0)))
        return np.clip(mono, -_MAX_AMPLITUDE, _MAX_AMPLITUDE)

    def _change_rate(self, rate_hz: int) -> None:
        """Start resampling from another source rate (the first one, or a change in mid-stream)."""
        self._flush_resampler()
        self._source_rate_hz = rate_hz
        if rate_hz != self.rate_hz:
            self._resampler = soxr.ResampleStream(
                rate_hz, self.rate_hz, 1, dtype="float32", quality="HQ"
            )

    def _flush_resampler(self) -> None:
        """Write what is left in the resampler, if there is one."""
        if self._resampler is not None:
            self._resample_and_write(np.zeros(0, dtype=np.float32), last=True)
            self._resampler = None

    def _resample_and_write(self, mono: NDArray[np.float32], *, last: bool) -> None:
        """Resample a block, clip it to [-1, 1] and write it. Raises SpoolError."""
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(np.ascontiguousarray(mono), last=last)
        clipped = np.clip(mono, -1.0, 1.0).astype("<f4", copy=False)
        view = memoryview(clipped.tobytes())
        self.samples_out += len(clipped)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise SpoolError(error) from error
