"""Turns the timestamp tokens of one window into stretches of speech with times."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Tokens between two timestamps, with their times in seconds from the start of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]  # timestamps included


def cut_at_timestamps(
    tokens: Sequence[int], *, timestamp_begin: int, step_s: float, window_s: float
) -> list[TokenSpan]:
    """Cut a window's tokens where two timestamps meet, as openai/whisper does.

    tokens: what was generated, without end-of-text. step_s: seconds between timestamps (0.02).
    window_s: seconds of real sound; times beyond it (in the padding) are moved to it.
    Unlike whisper, which decodes an unfinished last stretch again from its start, windows do not
    overlap here, so that stretch is kept and ends with the window. Times never run backwards.
    """
    is_stamp = [token >= timestamp_begin for token in tokens]
    meetings = [i for i in range(1, len(tokens)) if is_stamp[i - 1] and is_stamp[i]]
    bounds = [0, *meetings, len(tokens)]
    stretches: list[TokenSpan] = []
    now = 0.0
    for first, last in pairwise(bounds):
        if all(is_stamp[first:last]):
            continue
        start = (tokens[first] - timestamp_begin) * step_s if is_stamp[first] else now
        ends = is_stamp[last - 1]
        end = (tokens[last - 1] - timestamp_begin) * step_s if ends else window_s
        start = min(max(start, now), window_s)
        now = end = min(max(end, start), window_s)
        stretches.append(TokenSpan(start, end, tuple(tokens[first:last])))
    return stretches


def cut_sequentially(
    tokens: Sequence[int], *, timestamp_begin: int, step_s: float, window_s: float
) -> tuple[list[TokenSpan], float]:
    """Cut a window's tokens where two timestamps meet; an unfinished last stretch is left out.

    Returns the stretches and how many seconds further the next window starts. Arguments as of
    cut_at_timestamps. Source: openai/whisper's transcribe.py, as transformers has it
    (`_retrieve_segment`): a single timestamp at the end means that no speech follows; without any
    meeting the whole window is one stretch. Times in the padding are moved to the end of the sound.
    """
    is_stamp = [token >= timestamp_begin for token in tokens]
    meetings = [i for i in range(1, len(tokens)) if is_stamp[i - 1] and is_stamp[i]]
    if not meetings:
        stamps = [t for t, stamp in zip(tokens, is_stamp, strict=True) if stamp]
        end = (stamps[-1] - timestamp_begin) * step_s if stamps else 0.0
        return [TokenSpan(0.0, min(end or window_s, window_s), tuple(tokens))], window_s
    ends_alone = is_stamp[-2:] == [False, True]
    if ends_alone:
        meetings.append(len(tokens))
    stretches = []
    first, end = 0, 0.0
    for last in meetings:
        start, end = ((tokens[i] - timestamp_begin) * step_s for i in (first, last - 1))
        stretches.append(
            TokenSpan(min(start, window_s), min(end, window_s), tuple(tokens[first:last]))
        )
        first = last
    return stretches, window_s if ends_alone else end


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes the text; above 2.4 it repeats itself (Whisper's rule)."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))
