"""Decode with FFmpeg's libraries (PyAV) everything that libsndfile does not read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from thoth_watch.infrastructure.audio.headers import has_mp3_frame_count, present_ratio
from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.pcm import RefusedError
from thoth_watch.infrastructure.audio.sources import (
    MAX_BLOCK_SAMPLES,
    CannotOpenError,
    StreamHeader,
    describe_error,
)

# Formats that are one self-contained file. Others (concat, hls, sdp) make FFmpeg open further
# files. FFmpeg ignores misspelled options: test_hostile_files.py proves that these are effective.
_OPEN_OPTIONS = {
    "format_whitelist": "wav,w64,mp3,flac,ogg,mov,matroska,aac,aiff,amr,asf,caf",
    "protocol_whitelist": "none",
}
# Their headers contain the exact length; for others FFmpeg estimates it from the bit rate.
_EXACT_FORMATS = ("wav", "w64", "flac", "mov", "matroska", "aiff", "caf")
_DECODER = f"av {av.__version__} ({av.ffmpeg_version_info})"
_FULL_SCALE = {"s16": 2**15, "s32": 2**31, "s64": 2**63}


class AvSource:
    """The first audio track of a recording opened with FFmpeg's libraries."""

    def __init__(self, descriptor: int, limits: DecodeLimits) -> None:
        """Open the file. Raises CannotOpenError, or RefusedError when it has no audio track."""
        self._limits = limits
        self._bad_packets = 0
        self._last_error = ""
        self.is_truncated = False
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._bytes = os.fdopen(descriptor, "rb", buffering=0, closefd=False)
        try:
            self._container: Any = av.open(
                _NamelessFile(self._bytes),
                options=_OPEN_OPTIONS,
                metadata_errors="replace",  # a title in Latin-1 must not make the recording unreadable
                buffer_size=65_536,
            )
        except Exception as error:  # PyAV also raises AttributeError and others
            self._bytes.close()
            raise CannotOpenError(_open_error(error)) from error
        if not self._container.streams.audio:
            self.close()
            raise RefusedError("no audio track in this file: export it with its audio")
        self._stream: Any = self._container.streams.audio[0]
        try:
            declared_s, is_exact = self._declared_length(
                present_ratio(descriptor), has_frame_count=has_mp3_frame_count(descriptor)
            )
            self.header = StreamHeader(
                rate_hz=int(self._stream.rate or 0),
                channels=int(self._stream.channels),
                codec=str(self._stream.codec_context.name),
                decoder=_DECODER,
                declared_s=declared_s,
                is_exact=is_exact,
            )
        except Exception as error:  # no codec context or no sample rate
            self.close()
            raise CannotOpenError(f"damaged header ({describe_error(error)})") from error

    @property
    def decode_error(self) -> str | None:
        """Number of packets that could not be decoded and the last error, or None."""
        if not self._bad_packets:
            return None
        return f"{self._bad_packets} packets could not be decoded ({self._last_error})"

    def blocks(self, duration_s: float) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Yield blocks of audio; damaged packets are skipped and counted."""
        held: list[NDArray[np.float32]] = []
        held_rate = held_frames = 0
        for frame in self._frames():
            samples, rate_hz = self._to_float32(frame), int(frame.sample_rate)
            has_changed = rate_hz != held_rate or (held and samples.shape[1] != held[0].shape[1])
            limit = min(duration_s * held_rate, MAX_BLOCK_SAMPLES / samples.shape[1])
            if held and (has_changed or held_frames >= limit):
                yield np.concatenate(held), held_rate
                held, held_frames = [], 0
            held.append(samples)
            held_frames += len(samples)
            held_rate = rate_hz
        if held:
            yield np.concatenate(held), held_rate

    def close(self) -> None:
        """Free FFmpeg's memory."""
        self._container.close()
        self._bytes.close()

    def _frames(self) -> Iterator[Any]:
        """Yield the decoded frames of the track."""
        has_index = self._container.format.name.startswith("mov")  # its index has the packet sizes
        for packet in self._container.demux(self._stream):
            if packet.size:  # the last one flushes the decoder
                self.is_truncated = has_index and bool(packet.is_corrupt)  # shorter than indexed
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                self._bad_packets += 1
                self._last_error = describe_error(error)
                continue
            yield from frames

    def _to_float32(self, frame: Any) -> NDArray[np.float32]:
        """Return one frame as float32, shape (frames, channels), full scale 1. Raises RefusedError."""
        channels = int(frame.layout.nb_channels)
        refusal = self._limits.refusal(channels=channels, rate_hz=int(frame.sample_rate))
        if refusal is not None:
            raise RefusedError(refusal)
        raw: NDArray[Any] = frame.to_ndarray()
        raw = raw.T if frame.format.is_planar else raw.reshape(-1, channels)
        kind = frame.format.name.removesuffix("p")
        if kind == "u8":
            return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
        return raw.astype(np.float32) / np.float32(_FULL_SCALE.get(kind, 1))

    def _declared_length(
        self, share: float | None, *, has_frame_count: bool
    ) -> tuple[float | None, bool]:
        """Return the seconds of the track according to the container, and True if they are exact."""
        stream, container = self._stream, self._container
        container_s = None if not container.duration else container.duration / av.time_base
        track_s = float(stream.duration * stream.time_base) if stream.duration else None
        track_s = track_s or _parse_duration_s(stream.metadata.get("DURATION", ""))
        is_counted = container.format.name.startswith(_EXACT_FORMATS) or (
            container.format.name == "mp3"
            and (bool(stream.start_time) or has_frame_count)  # a Xing frame's delay
        )
        if container.format.name == "asf":  # Windows adds up to 2 s of silence
            is_counted = share is not None
        # The container's duration is that of its longest track, which may be another one.
        if track_s is None and len(container.streams) > 1:
            is_counted = False
        declared_s = track_s or container_s
        if declared_s is not None and container.format.name.startswith("matroska"):
            declared_s -= float((stream.start_time or 0) * stream.time_base)  # it is the end time
        if declared_s is None or declared_s <= 0:
            return None, False
        is_shortened = container.format.name in {"wav", "caf"}  # by FFmpeg, to the file's size
        return declared_s / (share or 1.0) if is_shortened else declared_s, is_counted


def _open_error(error: Exception) -> str:
    """Return FFmpeg's error; for a format that is not allowed it is only "invalid argument"."""
    if isinstance(error, av.ArgumentError):
        return "unsupported format"
    return describe_error(error)


class _NamelessFile:
    """A file object without a name, so that FFmpeg detects the format by content only."""

    def __init__(self, file: Any) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _parse_duration_s(text: str) -> float | None:
    """Return the seconds of Matroska's `00:00:20.023000000`; None if it is not a duration."""
    try:
        hours, minutes, seconds = text.strip().split(":")
        return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)
    except ValueError:
        return None
