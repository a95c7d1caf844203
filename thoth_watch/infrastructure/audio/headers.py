"""Read lengths and truncation from file headers where the decoding libraries do not report them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_UNKNOWN_SIZES = {
    0,
    0xFFFFFFFF,
    2**63 - 1,
    2**64 - 1,
}  # written when the writer could not seek back
_MAX_CHUNKS = 4_096
_ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_OGG_TAIL_BYTES = 128 * 1024  # a page has at most 65_307 bytes
_OGG_HEADER_BYTES = 27
_OGG_LAST_PAGE = 0x04
_MP3_SLACK_BYTES = 4_096  # some writers do not count their own first frame
_MP3_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # tags that may follow the audio


def present_ratio(descriptor: int) -> float | None:
    """Return the share of its declared bytes that a WAV, AIFF, CAF or ASF file has, in [0, 1); None if all.

    libsndfile shortens the length of such files to their size without reporting it.
    """
    size = os.fstat(descriptor).st_size
    declared_size = _asf_file_size(descriptor)
    if declared_size is not None:
        return size / declared_size if size < declared_size else None
    for kind, start, length in _chunks(descriptor, size):
        if kind in {b"data", b"SSND"}:
            present = size - start
            is_cut = length not in _UNKNOWN_SIZES and present < length
            return max(present, 0) / length if is_cut else None
    return None


def _asf_file_size(descriptor: int) -> int | None:
    """Return the file size that an ASF (wma) header declares; None for other files and for streams."""
    head = os.pread(descriptor, 8_192, 0)
    at = head.find(_ASF_PROPERTIES) if head.startswith(_ASF) else -1
    properties = head[at + 40 : at + 92]
    if at < 0 or len(properties) < 52:
        return None
    is_stream = properties[48] & 0x01
    return None if is_stream else int.from_bytes(properties[:8], "little") or None


def _chunks(descriptor: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a RIFF, RF64, AIFF or CAF file: name, offset of the content, declared length."""
    magic = os.pread(descriptor, 4, 0)
    if magic in {b"RIFF", b"RF64", b"BW64"}:
        at, head = 12, "<4sI"
    elif magic in {b"FORM", b"RIFX"}:
        at, head = 12, ">4sI"
    elif magic == b"caff":
        at, head = 8, ">4sQ"
    else:
        return
    width, long_data = struct.calcsize(head), None
    for _ in range(_MAX_CHUNKS):
        raw = os.pread(descriptor, width, at)
        if len(raw) < width or at >= size:
            return
        kind, length = struct.unpack(head, raw)
        if kind == b"ds64":  # the real size of a data chunk above 4 GiB
            sizes = os.pread(descriptor, 16, at + width)
            long_data = struct.unpack("<QQ", sizes)[1] if len(sizes) == 16 else None
        if kind == b"data" and length == 0xFFFFFFFF and long_data is not None:
            length = long_data
        yield kind, at + width, length
        at += width + length + (length % 2 if magic != b"caff" else 0)


def is_ogg_truncated(descriptor: int) -> bool:
    """Return True if an Ogg file ends without a page that is marked as the last one."""
    size = os.fstat(descriptor).st_size
    if os.pread(descriptor, 4, 0) != b"OggS":
        return False
    start = max(0, size - _OGG_TAIL_BYTES)
    tail = os.pread(descriptor, _OGG_TAIL_BYTES, start)
    at = len(tail)
    while (at := tail.rfind(b"OggS", 0, at)) >= 0:
        page = tail[at:]
        if len(page) < _OGG_HEADER_BYTES or page[4] != 0 or page[5] > 7:
            continue  # cut inside the header, or the bytes "OggS" within audio data
        segments = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]]
        is_whole = len(page) >= _OGG_HEADER_BYTES + page[26] + sum(segments)
        return not (is_whole and page[5] & _OGG_LAST_PAGE)
    return True


def has_exact_mp3_length(descriptor: int) -> bool:
    """Return True if an MP3's first frame (Xing, Info) counts the frames of all audio that follows.

    Without it libsndfile guesses the length from the first frames and stops there without an error:
    it decoded 3.4 s of a 20 s VBR file. Concatenated files also end after the first one.
    """
    at, first, sync = _find_first_frame(descriptor)
    mark = _find_xing(first, sync)
    if mark < 0 or len(first) < mark + 16:
        return False
    flags, _frames, audio_bytes = struct.unpack(">III", first[mark + 4 : mark + 16])
    if flags & 0b11 != 0b11:  # counts both frames and bytes
        return False
    end = at + sync + int(audio_bytes)
    rest = os.pread(descriptor, _MP3_SLACK_BYTES + 1, end)
    return len(rest) <= _MP3_SLACK_BYTES or rest.startswith(_MP3_TAGS)


def has_mp3_frame_count(descriptor: int) -> bool:
    """Return True if an MP3's first frame has a frame count (Xing, Info or VBRI), correct or not."""
    _, first, sync = _find_first_frame(descriptor)
    mark = _find_xing(first, sync)
    if mark >= 0 and len(first) >= mark + 8:
        return bool(first[mark + 7] & 0b1)
    return sync >= 0 and first[sync + 36 : sync + 40] == b"VBRI"


def _find_first_frame(descriptor: int) -> tuple[int, bytes, int]:
    """Return the offset of an MP3's audio, the bytes from there, and the first frame's offset in them or -1."""
    at = _skip_id3(descriptor)
    first = os.pread(descriptor, 4_096, at)
    return (
        at,
        first,
        next((i for i in range(len(first) - 1) if _is_mpeg_sync(first[i : i + 2])), -1),
    )


def _find_xing(first: bytes, sync: int) -> int:
    """Return the offset of a frame's Xing or Info mark, or -1."""
    if sync < 0:
        return -1
    return max(first.find(name, sync, sync + 64) for name in (b"Xing", b"Info"))


def _skip_id3(descriptor: int) -> int:
    """Return the offset of the first byte after the ID3v2 tags."""
    at = 0
    while len(head := os.pread(descriptor, 10, at)) == 10 and head[:3] == b"ID3":
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += 10 + length + (10 if head[5] & 0x10 else 0)
    return at


def _is_mpeg_sync(pair: bytes) -> bool:
    """Return True if two bytes can begin an MPEG layer III audio frame."""
    return pair[0] == 0xFF and pair[1] & 0xE6 == 0xE2
