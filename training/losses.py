"""Training losses: tokens, frame labels and the decoder's cross-attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.grammar import WORDS
from training.network import HEAD_WIDTH, Attention
from training.windows import IGNORE

MAX_PHONEMES = 128
N_WORDS = len(WORDS) + 1  # 0 is "no word"
N_HALVES = 3  # no word, first half, second half: separates repeated words
# Soft targets, because a timestamp near the true one is almost correct: (offset in 20 ms, weight).
_TIMESTAMP_TARGETS = ((-2, 0.1), (-1, 0.2), (0, 0.4), (1, 0.2), (2, 0.1))


class FrameHead(nn.Linear):
    """Predicts the phoneme, the word and the half of the word at each encoder position."""

    def __init__(self, width: int) -> None:
        super().__init__(width, MAX_PHONEMES + N_WORDS + N_HALVES)


@dataclass(frozen=True, slots=True)
class FrameLoss:
    """Cross entropies per frame and the share of word frames that are predicted correctly."""

    phoneme: Tensor
    word: Tensor
    half: Tensor
    word_accuracy: float

    @property
    def total(self) -> Tensor:
        """Return the weighted sum that is minimized."""
        return 0.5 * self.phoneme + self.word + 0.5 * self.half


def frame_loss(logits: Tensor, phonemes: Tensor, words: Tensor, halves: Tensor) -> FrameLoss:
    """Compute the losses of the frame head's logits, shape (batch, frames, n)."""
    phoneme_part, word_part, half_part = logits.float().split(
        [MAX_PHONEMES, N_WORDS, N_HALVES], dim=-1
    )

    def entropy(part: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(part.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)

    spoken = words > 0
    accuracy = (word_part.detach().argmax(-1) == words)[spoken].float().mean()
    return FrameLoss(
        entropy(phoneme_part, phonemes),
        entropy(word_part, words),
        entropy(half_part, halves),
        float(accuracy),
    )


def token_loss(logits: Tensor, targets: Tensor, loss_weight: Tensor, timestamp_zero: int) -> Tensor:
    """Compute the cross entropy of the tokens, with soft targets around timestamps."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    is_timestamp = targets >= timestamp_zero
    last = logits.shape[-1] - 1
    plain = -log_probs.gather(-1, targets[..., None])[..., 0]
    soft = torch.zeros_like(plain)
    for offset, weight in _TIMESTAMP_TARGETS:
        near = (targets + offset).clamp(timestamp_zero, last)
        soft = soft - weight * log_probs.gather(-1, near[..., None])[..., 0]
    per_token = torch.where(is_timestamp, soft, plain)
    return (per_token * loss_weight).sum() / loss_weight.sum().clamp_min(1)


def guide_loss(attention: Attention, spans: Tensor) -> Tensor:
    """Compute the mean negative log of the first head's attention in the spans, shape (batch, n, 2)."""
    if attention.seen is None:
        raise ValueError("no cross-attention recorded; run the decoder first")
    queries, keys = (part.float() for part in attention.seen)
    scores = torch.log_softmax(queries @ keys.transpose(1, 2) * HEAD_WIDTH**-0.5, dim=-1)
    at = torch.arange(keys.shape[1], device=keys.device)
    has_span = spans[..., 1] > spans[..., 0]
    inside = (at >= spans[..., :1] - 1) & (at <= spans[..., 1:])
    found = torch.logsumexp(scores.masked_fill(~inside, -1e4), dim=-1)
    return -(found * has_span).sum() / has_span.sum().clamp_min(1)
