"""How far a transcript may be believed, told from the words, the speech that was found, and the sound."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from thoth_watch.domain.speech import SpeechSpans, total_s
from thoth_watch.domain.transcript import Segment, Verdict

MIN_LOGPROB, MAX_COMPRESSION, MAX_NO_SPEECH = -1.0, 2.4, 0.6  # whisper's own thresholds
MIN_LOGPROB_WITHOUT_VAD = -0.75  # where nobody looked for speech, words must speak for themselves
MAX_DOUBTFUL_SHARE = 0.1  # of the words: so many may stand in segments beyond them
MAX_WORDS_PER_S = 8.0  # nobody speaks faster; quick talk has 4 to 5
MIN_WORDS_PER_S, FEW_WORDS_SPEECH_S = 0.25, 10.0  # fewer in that much speech are too few
MAX_WORDLESS_SPEECH_S = 0.5  # so much speech has a word in it
MAX_UNCOVERED_SPEECH_S = 10.0  # speech on end without a word
MIN_GAP_S, MAX_UNCOVERED_SHARE = (
    1.0,
    0.25,
)  # shorter ones are none; of all speech, so much may be in them
TIMESTAMP_TOLERANCE_S = 1.0  # how far Whisper's times are off where it hears well
LOOP_MIN_REPEATS, LOOP_MIN_WORDS = (
    4,
    8,
)  # a phrase said so often on end, and so many words in all, is a loop
LOOP_MAX_PHRASE_WORDS = 40  # words of the longest phrase that is looked for

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019]\w+)*"
)


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict and why; `ok` and `empty` need no reason."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def judge(
    segments: Sequence[Segment],
    *,
    speech: SpeechSpans | None,
    duration_s: float,
    warnings: Sequence[str] = (),
) -> Judgment:
    """How far the words may be believed.

    speech: where somebody speaks; None: not looked for. duration_s: decoded seconds. warnings: what
    decoding said; less sound than the file declares begins with `truncated`.
    """
    spoken = [segment for segment in segments if words_of(segment.text)]
    cut = [warning for warning in warnings if warning.startswith("truncated")]
    doubts = [doubt for doubt in _doubts(spoken, speech, duration_s) if doubt]
    if cut:
        return Judgment(Verdict.TRUNCATED, (*cut, *doubts))
    if doubts:
        return Judgment(Verdict.SUSPECT, tuple(doubts))
    return Judgment(Verdict.OK if spoken else Verdict.EMPTY)


def words_of(text: str) -> list[str]:
    """Words in lower case without punctuation; a Chinese or Japanese character is a word."""
    return _WORD.findall(text.lower())


def _doubts(
    spoken: Sequence[Segment], speech: SpeechSpans | None, duration_s: float
) -> Iterator[str | None]:
    words = [word for segment in spoken for word in words_of(segment.text)]
    if not words:
        yield _no_words(speech)
        return
    yield _loop(words)
    yield _speech_rate(len(words), speech, duration_s)
    share = _share_of_words(spoken)
    least = MIN_LOGPROB_WITHOUT_VAD if speech is None else MIN_LOGPROB
    low = share(lambda s: s.avg_logprob < least)
    dense = share(lambda s: s.compression_ratio > MAX_COMPRESSION)
    if low > MAX_DOUBTFUL_SHARE:
        yield f"{low:.0%} of the words are unlikely (log-probability below {least:g})"
    if dense > MAX_DOUBTFUL_SHARE:
        yield f"{dense:.0%} of the words repeat themselves (compression above {MAX_COMPRESSION:g})"
    if speech is None:
        deaf = share(lambda s: s.no_speech_prob > MAX_NO_SPEECH)
        if deaf > MAX_DOUBTFUL_SHARE:
            yield f"{deaf:.0%} of the words stand where the model itself hears no speech"
        return
    astray = share(lambda s: not _is_near(s, speech))
    if astray > MAX_DOUBTFUL_SHARE:
        yield f"{astray:.0%} of the words stand where nobody speaks"
    yield _gaps(spoken, speech)


def _no_words(speech: SpeechSpans | None) -> str | None:
    if speech is None or total_s(speech) < MAX_WORDLESS_SPEECH_S:
        return None
    return f"{total_s(speech):.1f} s of speech and no words"


def _loop(words: Sequence[str]) -> str | None:
    """A phrase that is said over and over, as Whisper does when it has lost the thread."""
    for n in range(1, min(LOOP_MAX_PHRASE_WORDS, len(words) // LOOP_MIN_REPEATS) + 1):
        same = 0  # words on end that are those of n words before
        for at in range(n, len(words)):
            same = same + 1 if words[at] == words[at - n] else 0
            times = same // n + 1
            if times >= LOOP_MIN_REPEATS and times * n >= LOOP_MIN_WORDS:
                phrase = " ".join(words[at - n + 1 : at + 1])
                return f"{phrase[:60]!r} is said {times} times on end or more"
    return None


def _speech_rate(n_words: int, speech: SpeechSpans | None, duration_s: float) -> str | None:
    """Whether so many words fit the time there was."""
    spoken_s = duration_s if speech is None else total_s(speech)
    if n_words > MAX_WORDS_PER_S * spoken_s + 2:  # two: of very short recordings
        return f"{n_words} words in {spoken_s:.1f} s of speech"
    if (
        speech is not None
        and spoken_s > FEW_WORDS_SPEECH_S
        and n_words < MIN_WORDS_PER_S * spoken_s
    ):
        return f"only {n_words} word{'s' * (n_words > 1)} in {spoken_s:.1f} s of speech"
    return None


def _share_of_words(spoken: Sequence[Segment]) -> Callable[[Callable[[Segment], bool]], float]:
    """What share of the words stands in segments of which something holds."""
    counts = [len(words_of(segment.text)) for segment in spoken]

    def share(holds: Callable[[Segment], bool]) -> float:
        found = sum(n for n, segment in zip(counts, spoken, strict=True) if holds(segment))
        return found / sum(counts)

    return share


def _is_near(segment: Segment, speech: SpeechSpans) -> bool:
    return any(
        start - TIMESTAMP_TOLERANCE_S <= segment.end
        and segment.start <= end + TIMESTAMP_TOLERANCE_S
        for start, end in speech
    )


def _gaps(spoken: Sequence[Segment], speech: SpeechSpans) -> str | None:
    """Whether speech was passed over: much at once, or much of all there is."""
    holes = [hole for hole in _uncovered(spoken, speech) if hole[1] - hole[0] > MIN_GAP_S]
    start, end = max(holes, key=lambda hole: hole[1] - hole[0], default=(0.0, 0.0))
    if end - start > MAX_UNCOVERED_SPEECH_S:
        return f"no words from {start:.0f} s to {end:.0f} s, where somebody speaks"
    missed_s, spoken_s = total_s(tuple(holes)), total_s(speech)
    if missed_s > MAX_UNCOVERED_SHARE * spoken_s:
        return f"{missed_s:.1f} s of {spoken_s:.1f} s of speech are without words"
    return None


def _uncovered(spoken: Sequence[Segment], speech: SpeechSpans) -> Iterator[tuple[float, float]]:
    """The parts of stretches of speech that are in no segment."""
    edges = [float("-inf"), *(t for s in spoken for t in (s.start, s.end)), float("inf")]
    gaps = [
        (before, after)
        for before, after in list(pairwise(edges))[::2]
        if before + TIMESTAMP_TOLERANCE_S < after
    ]
    for start, end in speech:
        for before, after in gaps:
            first, last = max(start, before), min(end, after)
            if first < last:
                yield first, last
