"""Decoding by FFmpeg's libraries (PyAV): everything that libsndfile does not read."""

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
    describe_error,
)

# Formats that are one self-contained file. Others (concat, hls, sdp) make FFmpeg open further
# files. An option that is misspelt is ignored: test_hostile_files.py proves that this one works.
_OPEN_OPTIONS = {
    "format_whitelist": "wav,w64,mp3,flac,ogg,mov,matroska,aac,aiff,amr,asf,caf",
    "protocol_whitelist": "none",
}
# Their headers count the sound; of others FFmpeg guesses the length from the bit rate.
_EXACT_FORMATS = ("wav", "w64", "flac", "mov", "matroska", "aiff", "caf")
_DECODER = f"av {av.__version__} ({av.ffmpeg_version_info})"
_FULL_SCALE = {"s16": 2**15, "s32": 2**31, "s64": 2**63}


class AvSource:
    """A recording that FFmpeg's libraries read; its first audio track."""

    decoder = _DECODER

    def __init__(self, descriptor: int, limits: DecodeLimits) -> None:
        """Open it. Raises CannotOpenError, or RefusedError when there is no audio track."""
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
                metadata_errors="replace",  # a Latin-1 title is no reason to refuse a recording
                buffer_size=65_536,
            )
        except Exception as error:  # PyAV raises AttributeError and others, too
            self._bytes.close()
            raise CannotOpenError(_open_error(error)) from error
        if not self._container.streams.audio:
            self.close()
            raise RefusedError("no audio track in this file")
        self._stream: Any = self._container.streams.audio[0]
        try:
            self.codec = str(self._stream.codec_context.name)
            self.rate_hz = int(self._stream.rate or 0)
            self.channels = int(self._stream.channels)
            self.declared_s, self.is_exact = self._declared_length(
                present_ratio(descriptor), has_frame_count=has_mp3_frame_count(descriptor)
            )
        except Exception as error:  # no codec context, no rate: a broken header
            self.close()
            raise CannotOpenError(f"a broken header ({describe_error(error)})") from error

    @property
    def decode_error(self) -> str | None:
        """How many packets could not be decoded, and why."""
        if not self._bad_packets:
            return None
        return f"{self._bad_packets} packets could not be decoded ({self._last_error})"

    def blocks(self, duration_s: float) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Sound in blocks; damaged packets are left out and counted."""
        held: list[NDArray[np.float32]] = []
        held_rate = held_frames = 0
        for frame in self._frames():
            sound, rate_hz = self._to_float32(frame), int(frame.sample_rate)
            is_other = rate_hz != held_rate or (held and sound.shape[1] != held[0].shape[1])
            limit = min(duration_s * held_rate, MAX_BLOCK_SAMPLES / sound.shape[1])
            if held and (is_other or held_frames >= limit):
                yield np.concatenate(held), held_rate
                held, held_frames = [], 0
            held.append(sound)
            held_frames += len(sound)
            held_rate = rate_hz
        if held:
            yield np.concatenate(held), held_rate

    def close(self) -> None:
        """Free FFmpeg's memory."""
        self._container.close()
        self._bytes.close()

    def _frames(self) -> Iterator[Any]:
        """The decoded frames of the track."""
        has_index = self._container.format.name.startswith("mov")  # it knows how long a packet is
        for packet in self._container.demux(self._stream):
            if packet.size:  # the last one flushes the decoder
                self.is_truncated = has_index and bool(packet.is_corrupt)  # FFmpeg got less of it
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                self._bad_packets += 1
                self._last_error = describe_error(error)
                continue
            yield from frames

    def _to_float32(self, frame: Any) -> NDArray[np.float32]:
        """One frame as float32, shape (frames, channels), full scale 1."""
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
        """Seconds of the track by the container, and whether they are counted."""
        stream, container = self._stream, self._container
        whole_s = None if not container.duration else container.duration / av.time_base
        track_s = float(stream.duration * stream.time_base) if stream.duration else None
        track_s = track_s or _parse_duration_s(stream.metadata.get("DURATION", ""))
        is_counted = container.format.name.startswith(_EXACT_FORMATS) or (
            container.format.name == "mp3"
            and (bool(stream.start_time) or has_frame_count)  # a Xing frame's delay
        )
        if container.format.name == "asf":  # Windows adds up to two seconds of nothing
            is_counted = share is not None
        if track_s is None and len(container.streams) > 1:  # the longest track's, maybe not ours
            is_counted = False
        declared_s = track_s or whole_s
        if declared_s is not None and container.format.name.startswith("matroska"):
            declared_s -= float((stream.start_time or 0) * stream.time_base)  # it says when it ends
        if declared_s is None or declared_s <= 0:
            return None, False
        is_short_already = container.format.name in {"wav", "caf"}  # shortened to the file's size
        return declared_s / (share or 1.0) if is_short_already else declared_s, is_counted


def _open_error(error: Exception) -> str:
    """FFmpeg's reason; it says no more than "invalid argument" of a format that is not allowed."""
    if isinstance(error, av.ArgumentError):
        return "a format that is not read here: convert it to wav, flac, mp3 or m4a"
    return describe_error(error)


class _NamelessFile:
    """A file object without a name: FFmpeg shall guess by content only."""

    def __init__(self, file: Any) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _parse_duration_s(text: str) -> float | None:
    """Seconds of Matroska's `00:00:20.023000000`."""
    try:
        hours, minutes, seconds = text.strip().split(":")
        return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)
    except ValueError:
        return None
