"""Convert the probability of speech in each frame to spans of speech."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MIN_SPEECH_S, MIN_SILENCE_S = 0.1, 0.3  # shorter speech or silence is ignored


def find_speech_spans(
    probabilities: npt.NDArray[np.float32],
    *,
    frame_s: float,
    duration_s: float,
    threshold: float,
    neg_threshold: float,
) -> tuple[tuple[float, float], ...]:
    """Return spans in seconds, in time order, without overlaps and within the recording.

    A span begins when the probability reaches `threshold` and ends when it falls below `neg_threshold`.
    """
    spans: list[list[int]] = []
    start: int | None = None
    for frame, probability in enumerate([*probabilities.tolist(), -1.0]):
        if start is None and probability >= threshold:
            start = frame
        elif start is not None and probability < neg_threshold:
            if spans and (start - spans[-1][1]) * frame_s < MIN_SILENCE_S:
                spans[-1][1] = frame
            else:
                spans.append([start, frame])
            start = None
    return tuple(
        (round(first * frame_s, 3), round(min(last * frame_s, duration_s), 3))
        for first, last in spans
        if (last - first) * frame_s >= MIN_SPEECH_S
    )
