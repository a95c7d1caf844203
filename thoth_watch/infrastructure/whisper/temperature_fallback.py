"""Decodes windows again at rising temperatures until the words can be believed: whisper's fallback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding import Prefill, WindowDecoder
from thoth_watch.infrastructure.whisper.search import Decoded
from thoth_watch.infrastructure.whisper.segments import compression_ratio


@dataclass(frozen=True, slots=True)
class DecodingAttempt:
    """What one window became at one temperature."""

    decoded: Decoded
    temperature: float
    compression_ratio: float
    no_speech_prob: float
    is_silence: bool
    is_good: bool


def decode_with_fallback(
    decoder: WindowDecoder,
    hidden: Tensor,
    prefill: Prefill,
    prompts: Sequence[list[int]],
    *,
    options: DecodingOptions,
    text_of: Callable[[Sequence[int]], str],
    seeds: Sequence[int],
    careful: Sequence[bool],
) -> list[DecodingAttempt]:
    """The last attempt of each window: the first good one, else that at the highest temperature.

    Each window is judged by itself; only those that are not good are decoded again. seeds: a number
    for each window that decides what is drawn. careful: whether it is searched for with more effort.
    """
    attempts: dict[int, DecodingAttempt] = {}
    waiting = list(range(len(prompts)))
    for temperature in options.temperature:
        for is_careful in (False, True):
            rows = [row for row in waiting if careful[row] is is_careful]
            if not rows:
                continue
            found = decoder.decode(
                hidden,
                prefill,
                [prompts[row] for row in rows],
                temperature=temperature,
                seeds=[seeds[row] for row in rows],
                rows=rows,
                careful=is_careful,
            )
            for row, decoded in zip(rows, found, strict=True):
                attempts[row] = check_thresholds(
                    decoded,
                    temperature,
                    text=text_of(decoded.tokens),
                    no_speech_prob=prefill.no_speech_probs[row],
                    options=options,
                )
        waiting = [row for row in waiting if not attempts[row].is_good]
        if not waiting:
            break
    return [attempts[row] for row in range(len(prompts))]


def check_thresholds(
    decoded: Decoded,
    temperature: float,
    *,
    text: str,
    no_speech_prob: float,
    options: DecodingOptions,
) -> DecodingAttempt:
    """Whether a window's words are good, by whisper's thresholds; a None switches a threshold off."""
    ratio = compression_ratio(text.strip())
    most, least = options.compression_ratio_threshold, options.logprob_threshold
    is_unlikely = least is not None and decoded.avg_logprob < least
    is_repetitive = most is not None and ratio > most
    silence = options.no_speech_threshold
    is_silence = silence is not None and no_speech_prob > silence and (is_unlikely or least is None)
    return DecodingAttempt(
        decoded=decoded,
        temperature=temperature,
        compression_ratio=ratio,
        no_speech_prob=no_speech_prob,
        is_silence=is_silence,
        is_good=is_silence or not (is_unlikely or is_repetitive),
    )
