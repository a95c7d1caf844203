"""Temperature fallback: decode windows again at higher temperatures until they pass Whisper's thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding.search import Decoded
from thoth_watch.infrastructure.whisper.decoding.segments import compression_ratio
from thoth_watch.infrastructure.whisper.decoding.window_decoder import Prefill, WindowDecoder


@dataclass(frozen=True, slots=True)
class DecodingAttempt:
    """The result of decoding one window at one temperature."""

    decoded: Decoded
    temperature: float
    compression_ratio: float
    no_speech_prob: float
    is_silence: bool
    is_good: bool


def decode_with_fallback(
    decoder: WindowDecoder,
    prefill: Prefill,
    prompts: Sequence[list[int]],
    *,
    options: DecodingOptions,
    text_of: Callable[[Sequence[int]], str],
    seeds: Sequence[int],
    careful: Sequence[bool],
) -> list[DecodingAttempt]:
    """Return each window's first attempt that passes the thresholds, else that at the last temperature.

    Only windows that have not passed are decoded again. text_of: decodes tokens to text. prompts, seeds,
    careful: one per window, see WindowDecoder.decode.
    """
    attempts: dict[int, DecodingAttempt] = {}
    pending = list(range(len(prompts)))
    for temperature in options.temperature:
        for is_careful in (False, True):
            rows = [row for row in pending if careful[row] is is_careful]
            if not rows:
                continue
            results = decoder.decode(
                prefill,
                [prompts[row] for row in rows],
                temperature=temperature,
                seeds=[seeds[row] for row in rows],
                rows=rows,
                careful=is_careful,
            )
            for row, decoded in zip(rows, results, strict=True):
                attempts[row] = check_thresholds(
                    decoded,
                    temperature,
                    text=text_of(decoded.tokens),
                    no_speech_prob=prefill.no_speech_probs[row],
                    options=options,
                )
        pending = [row for row in pending if not attempts[row].is_good]
        if not pending:
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
    """Check a window's text against Whisper's thresholds; a threshold of None is not checked.

    The text is good if its average log-probability and compression ratio pass. A window is silence if
    its no-speech probability is high and its log-probability fails; it is then good, too.
    """
    ratio = compression_ratio(text.strip())
    max_ratio, min_logprob = options.compression_ratio_threshold, options.logprob_threshold
    is_unlikely = min_logprob is not None and decoded.avg_logprob < min_logprob
    is_repetitive = max_ratio is not None and ratio > max_ratio
    max_no_speech = options.no_speech_threshold
    is_silence = (
        max_no_speech is not None
        and no_speech_prob > max_no_speech
        and (is_unlikely or min_logprob is None)
    )
    return DecodingAttempt(
        decoded=decoded,
        temperature=temperature,
        compression_ratio=ratio,
        no_speech_prob=no_speech_prob,
        is_silence=is_silence,
        is_good=is_silence or not (is_unlikely or is_repetitive),
    )
