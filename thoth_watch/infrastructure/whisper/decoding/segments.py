"""Cut a window's tokens at its timestamp tokens into segments with times; compression ratio of a text."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The tokens between two timestamps, with start and end in seconds from the window's start."""

    start: float
    end: float
    tokens: tuple[int, ...]  # timestamps included


def cut_at_timestamps(
    tokens: Sequence[int], *, timestamp_begin: int, step_s: float, window_s: float
) -> list[TokenSpan]:
    """Cut a window's tokens between adjacent timestamp tokens, as openai/whisper does.

    tokens: the generated tokens without end-of-text. timestamp_begin: the token of 0.00 s. step_s:
    seconds between timestamps (0.02). window_s: seconds of audio without padding; later times are
    moved to it. Independent windows do not overlap, so the last span is kept even if its end
    timestamp is missing, and ends with the window; openai/whisper would decode it again from its
    start. Times are non-decreasing.
    """
    is_timestamp = [token >= timestamp_begin for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if is_timestamp[i - 1] and is_timestamp[i]]
    bounds = [0, *cuts, len(tokens)]
    spans: list[TokenSpan] = []
    previous_end = 0.0
    for first, last in pairwise(bounds):
        if all(is_timestamp[first:last]):
            continue
        start = (tokens[first] - timestamp_begin) * step_s if is_timestamp[first] else previous_end
        has_end = is_timestamp[last - 1]
        end = (tokens[last - 1] - timestamp_begin) * step_s if has_end else window_s
        start = min(max(start, previous_end), window_s)
        previous_end = end = min(max(end, start), window_s)
        spans.append(TokenSpan(start, end, tuple(tokens[first:last])))
    return spans


def cut_sequentially(
    tokens: Sequence[int], *, timestamp_begin: int, step_s: float, window_s: float
) -> tuple[list[TokenSpan], float]:
    """Cut a window's tokens between adjacent timestamp tokens, without an unfinished last span.

    Returns the spans and the advance: the seconds from this window's start to the next one's.
    Arguments as in cut_at_timestamps; later times are moved to window_s, too.
    A single timestamp at the end means that no speech follows. Without adjacent timestamps, the
    whole window is one span. Source: openai/whisper's transcribe.py, in the form of transformers'
    `_retrieve_segment`.
    """
    is_timestamp = [token >= timestamp_begin for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if is_timestamp[i - 1] and is_timestamp[i]]
    if not cuts:
        timestamps = [t for t, is_one in zip(tokens, is_timestamp, strict=True) if is_one]
        end = (timestamps[-1] - timestamp_begin) * step_s if timestamps else 0.0
        return [TokenSpan(0.0, min(end or window_s, window_s), tuple(tokens))], window_s
    has_single_ending = is_timestamp[-2:] == [False, True]
    if has_single_ending:
        cuts.append(len(tokens))
    spans = []
    first, end = 0, 0.0
    for last in cuts:
        start, end = ((tokens[i] - timestamp_begin) * step_s for i in (first, last - 1))
        spans.append(TokenSpan(min(start, window_s), min(end, window_s), tuple(tokens[first:last])))
        first = last
    return spans, window_s if has_single_ending else end


def compression_ratio(text: str) -> float:
    """Return the zlib compression ratio of a text; above 2.4 it is repetitive (Whisper's threshold)."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))
