"""Decode an open file into samples in another open file: choose the library and collect warnings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from thoth_watch.infrastructure.audio.av_source import AvSource
from thoth_watch.infrastructure.audio.headers import is_ogg_truncated
from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.pcm import PcmWriter, RefusedError
from thoth_watch.infrastructure.audio.soundfile_source import SoundfileSource
from thoth_watch.infrastructure.audio.sources import CannotOpenError, Source, describe_error

# The declared length may exceed the decoded one by the larger of both.
_TOLERANCE_S, _TOLERANCE_RATIO = 0.25, 0.01


@dataclass(frozen=True, slots=True)
class DecodedAudio:
    """The result of decoding a file; the samples are in the output file."""

    samples: int
    decoded_s: float
    declared_s: float | None
    source_rate_hz: int
    source_channels: int
    codec: str
    decoder: str
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Attempt:
    """One library's attempt at decoding a file."""

    source: Source
    decoded_s: float = 0.0
    decode_error: str | None = None


class FileDecoder:
    """Decodes one file with the first library that can read it."""

    def __init__(
        self,
        descriptor: int,
        output: int,
        *,
        rate_hz: int,
        block_s: float,
        limits: DecodeLimits,
        channel: int | None = None,
        on_declared: Callable[[float | None], None] = lambda _: None,
    ) -> None:
        """channel: index of the only channel that is decoded; None: all channels, mixed.

        on_declared: called with the declared seconds as soon as a header is read.
        """
        self._descriptor = descriptor
        self._limits = limits
        self._block_s = block_s
        self._on_declared = on_declared
        self._pcm = PcmWriter(output, rate_hz=rate_hz, limits=limits, channel=channel)
        self._failures: list[str] = []

    def run(self) -> DecodedAudio:
        """Decode the whole file.

        Raises RefusedError (the file cannot be decoded) or SpoolError (the disk failed).
        """
        check_size(self._descriptor, self._limits)
        first = self._attempt(open_with_soundfile)
        if first and first.decoded_s and first.decode_error is None:
            return self._finish(first)
        second = self._attempt_with_av(first)
        if second and second.decoded_s and (not first or second.decoded_s >= first.decoded_s):
            if (
                first
                and first.decode_error
                and (first.source.header.declared_s or second.decode_error)
            ):
                second.decode_error = (
                    f"{first.decode_error}; {second.decode_error or 'FFmpeg skipped that part'}"
                )
            return self._finish(second)
        if first and (first.decoded_s or _is_valid_empty(first)):
            self._pcm.restart()
            return self._finish(
                self._decode_source(open_with_soundfile(self._descriptor, self._limits))
            )
        raise RefusedError(
            f"not a readable recording ({'; '.join(self._failures)}):"
            " convert it to wav, flac, mp3 or m4a"
        )

    def _attempt_with_av(self, first: _Attempt | None) -> _Attempt | None:
        """Decode with FFmpeg from the beginning; None if it cannot read the file."""
        if first is None:
            return self._attempt(open_with_av)
        try:
            self._pcm.restart()
            return self._attempt(open_with_av)
        except RefusedError:  # keep libsndfile's result
            return None

    def _attempt(self, open_source: Callable[[int, DecodeLimits], Source]) -> _Attempt | None:
        """Open and decode with one library; None if it cannot read the file. Raises RefusedError."""
        try:
            source = open_source(self._descriptor, self._limits)
        except CannotOpenError as error:
            self._note_failure(open_source, str(error))
            return None
        refusal = self._limits.refusal(
            channels=source.header.channels, rate_hz=source.header.rate_hz
        )
        if refusal is not None:
            raise RefusedError(refusal)
        self._on_declared(source.header.declared_s)
        attempt = self._decode_source(source)
        if attempt.decode_error or not attempt.decoded_s:
            self._note_failure(open_source, attempt.decode_error or "it contains no audio")
        return attempt

    def _decode_source(self, source: Source) -> _Attempt:
        """Write all blocks; a library's error ends the audio at that point."""
        attempt = _Attempt(source)
        blocks = source.blocks(self._block_s)
        while True:
            try:
                block = next(blocks, None)
            except (RefusedError, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 - any error of a library concerns the file
                attempt.decode_error = describe_error(error)
                break
            if block is None:
                break
            self._pcm.write(block[0], rate_hz=block[1])
        attempt.decode_error = attempt.decode_error or source.decode_error
        attempt.decoded_s = self._pcm.decoded_s
        source.close()
        return attempt

    def _finish(self, attempt: _Attempt) -> DecodedAudio:
        """Finish the output; return it with warnings, among them of a length below the declared one."""
        source = attempt.source
        warnings = self._pcm.finish()
        decoded_s = self._pcm.samples_out / self._pcm.rate_hz
        declared_s = source.header.declared_s if source.header.is_exact else None
        if attempt.decode_error:
            warnings += (f"damaged: {attempt.decode_error}",)
        if declared_s is not None:
            missing_s = declared_s - attempt.decoded_s
            if missing_s > max(_TOLERANCE_S, _TOLERANCE_RATIO * declared_s):
                warnings += (
                    f"truncated: {declared_s:.1f} s declared, {attempt.decoded_s:.1f} s decoded",
                )
        if is_ogg_truncated(self._descriptor):
            warnings += ("truncated: the last Ogg page is missing",)
        if source.is_truncated and not any(w.startswith("truncated") for w in warnings):
            warnings += ("truncated: the file ends within an audio packet",)
        return DecodedAudio(
            samples=self._pcm.samples_out,
            decoded_s=decoded_s,
            declared_s=declared_s,
            source_rate_hz=source.header.rate_hz,
            source_channels=source.header.channels,
            codec=source.header.codec,
            decoder=source.header.decoder,
            warnings=warnings,
        )

    def _note_failure(
        self, open_source: Callable[[int, DecodeLimits], Source], reason: str
    ) -> None:
        """Remember a library's error for the message when no library can read the file."""
        name = "soundfile" if open_source is open_with_soundfile else "FFmpeg"
        self._failures.append(f"{name}: {reason!r}")


def _is_valid_empty(attempt: _Attempt) -> bool:
    """Return True if a valid recording without audio was read, such as a WAV header alone."""
    return (
        attempt.decode_error is None and (attempt.source.header.declared_s or 0.0) <= _TOLERANCE_S
    )


def check_size(descriptor: int, limits: DecodeLimits) -> None:
    """Raise RefusedError for a file that is empty or too large."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        raise RefusedError("empty: 0 bytes; copy the file again")
    if size > limits.size_bytes:
        raise RefusedError(
            f"{size} bytes (at most {limits.size_bytes} are supported): split the recording"
        )


def declared_s(descriptor: int, limits: DecodeLimits) -> float | None:
    """Return the seconds that the header declares, exact or estimated; None if no library reports any."""
    check_size(descriptor, limits)
    for open_source in (open_with_soundfile, open_with_av):
        try:
            source = open_source(descriptor, limits)
        except (CannotOpenError, RefusedError):
            continue
        source.close()
        if source.header.declared_s:
            return source.header.declared_s
    return None


def open_with_soundfile(descriptor: int, _: DecodeLimits) -> Source:
    """Open a file with libsndfile. Raises CannotOpenError."""
    return SoundfileSource(descriptor)


def open_with_av(descriptor: int, limits: DecodeLimits) -> Source:
    """Open a file with FFmpeg's libraries. Raises CannotOpenError or RefusedError."""
    return AvSource(descriptor, limits)
