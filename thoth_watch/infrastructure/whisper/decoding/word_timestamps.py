"""Word timestamps: dynamic time warping over the cross-attention weights of the alignment heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.models.whisper.generation_whisper import _median_filter
from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

from thoth_watch.domain.transcript import Word
from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens

MEDIAN_FILTER_WIDTH = 7
# A word longer than this many median lengths includes a pause (openai/whisper's rule).
MAX_WORD_RATIO = 2.0
MAX_MEDIAN_S = 0.7
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AlignmentWeights:
    """The cross-attention weights and logits of one window, for each token that the decoder read.

    weights: (n_heads, n_tokens, positions), each row sums to 1. logits: those after each token,
    (n_tokens, vocabulary).
    """

    weights: Tensor
    logits: Tensor


def align_words(
    alignment: AlignmentWeights,
    tokens: Sequence[int],
    *,
    prompt_length: int,
    tokenizer: Any,
    special_tokens: SpecialTokens,
    language: str,
    step_s: float,
    duration_s: float,
) -> list[tuple[Word, int]]:
    """Return the words of a window, timed from the window's start, with their token counts.

    tokens: the text tokens, without timestamps. alignment: over a prompt of prompt_length tokens (the
    last of them `<|notimestamps|>`), the text tokens and end-of-text. step_s: seconds per encoder
    position. duration_s: seconds of audio in the window.
    Source: openai/whisper's timing.py.
    """
    if not tokens:
        return []
    positions = max(1, min(alignment.weights.shape[-1], round(duration_s / step_s)))
    weights = alignment.weights[:, :, :positions].float()
    deviation = weights.std(dim=-2, keepdim=True, unbiased=False).clamp(min=1e-9)
    weights = (weights - weights.mean(dim=-2, keepdim=True)) / deviation
    matrix = _median_filter(weights[None], MEDIAN_FILTER_WIDTH)[0].mean(dim=0)
    # a token is predicted in the row before its own; the last row gives the end of the last word
    matrix = matrix[prompt_length - 1 : prompt_length + len(tokens)]
    starts_s = warp_rows(-matrix.double().cpu().numpy()) * step_s
    logits = alignment.logits[
        prompt_length - 1 : prompt_length - 1 + len(tokens), : special_tokens.end
    ]
    chosen = torch.tensor(list(tokens), device=logits.device)
    probabilities = logits.softmax(dim=-1).gather(-1, chosen[:, None])[:, 0].tolist()
    name = LANGUAGES.get(language, "english")
    texts, parts, _ = _combine_tokens_into_words(tokenizer, list(tokens), name)
    words: list[tuple[Word, int]] = []
    first = 0
    for text, part in zip(texts, parts, strict=True):
        if not part:
            continue
        last = first + len(part)
        word = Word(
            start=round(float(starts_s[first]), 3),
            end=round(min(float(starts_s[last]), duration_s), 3),
            word=text,
            probability=round(sum(probabilities[first:last]) / len(part), 4),
        )
        words.append((word, len(part)))
        first = last
    return _shorten_long_words(words)


def warp_rows(cost: Matrix) -> npt.NDArray[np.int64]:
    """Return the first column of each row on the cheapest path (dynamic time warping).

    cost: (n_rows, n_columns). The path runs from the first to the last cell; moves go down, right or
    diagonally. Computed along antidiagonals, whose cells do not depend on each other.
    """
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    moves = np.zeros((n + 1, m + 1), np.int8)  # move into each cell: 0 diagonal, 1 down, 2 right
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        j = diagonal - i
        options = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        # as in openai/whisper: diagonal and down only if strictly cheapest, right in case of a tie
        best = np.where(
            (options[0] < options[1]) & (options[0] < options[2]),
            0,
            np.where((options[1] < options[0]) & (options[1] < options[2]), 1, 2),
        )
        moves[i, j] = best
        total[i, j] = cost[i - 1, j - 1] + np.take_along_axis(options, best[None], axis=0)[0]
    moves[0, :], moves[:, 0] = 2, 1
    starts = np.zeros(n, np.int64)
    i, j = n, m
    while i > 0 or j > 0:
        if i > 0:
            starts[i - 1] = max(0, j - 1)
        move = moves[i, j]
        i, j = i - (move != 2), j - (move != 1)
    return starts


def _shorten_long_words(words: list[tuple[Word, int]]) -> list[tuple[Word, int]]:
    """Shorten words that are much longer than the median, because they include a pause."""
    lengths = [word.end - word.start for word, _ in words if word.end > word.start]
    if not lengths:
        return words
    longest = MAX_WORD_RATIO * min(MAX_MEDIAN_S, float(np.median(lengths)))
    return [
        (
            Word(
                word.start,
                round(min(word.end, word.start + longest), 3),
                word.word,
                word.probability,
            ),
            n_tokens,
        )
        for word, n_tokens in words
    ]
