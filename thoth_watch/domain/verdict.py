"""Judges the reliability of a transcript from its words, the detected speech and the decoding warnings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from thoth_watch.domain.speech import SpeechSpans, total_s
from thoth_watch.domain.transcript import Segment, Verdict

MIN_LOGPROB, MAX_COMPRESSION, MAX_NO_SPEECH = -1.0, 2.4, 0.6  # whisper's own thresholds
MIN_LOGPROB_WITHOUT_VAD = -0.75  # stricter: there is no detected speech to compare with
MAX_DOUBTFUL_SHARE = 0.1  # share of words in segments beyond a threshold
MAX_WORDS_PER_S = 8.0  # faster than any speech; fast talk has 4 to 5
MIN_WORDS_PER_S, FEW_WORDS_SPEECH_S = 0.25, 10.0  # a lower rate over more speech is suspect
MAX_WORDLESS_SPEECH_S = 0.5  # longer speech contains a word
MAX_UNCOVERED_SPEECH_S = 10.0  # longest accepted speech without a word
MIN_GAP_S = 1.0  # shorter gaps are ignored
MAX_UNCOVERED_SHARE = 0.25  # share of all speech that may be in gaps
TIMESTAMP_TOLERANCE_S = 1.0  # error of Whisper's timestamps in good transcripts
LOOP_MIN_REPEATS, LOOP_MIN_WORDS = 4, 8  # repetitions in a row, and words in total, of a loop
LOOP_MAX_PHRASE_WORDS = 40  # words of the longest phrase that is searched for

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019]\w+)*"
)


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict with its reasons; `ok` and `empty` have none."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def judge(
    segments: Sequence[Segment],
    *,
    speech: SpeechSpans | None,
    duration_s: float,
    warnings: Sequence[str] = (),
) -> Judgment:
    """Judge whether the transcript is reliable.

    speech: detected spans; None: detection is off. duration_s: decoded seconds. warnings: of the
    decoder; one about less audio than declared begins with `truncated`.
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
    """Return the words in lower case without punctuation; a Chinese or Japanese character is a word."""
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
    min_logprob = MIN_LOGPROB_WITHOUT_VAD if speech is None else MIN_LOGPROB
    unlikely = share(lambda s: s.avg_logprob < min_logprob)
    repetitive = share(lambda s: s.compression_ratio > MAX_COMPRESSION)
    if unlikely > MAX_DOUBTFUL_SHARE:
        yield f"{unlikely:.0%} of the words are unlikely (log-probability below {min_logprob:g})"
    if repetitive > MAX_DOUBTFUL_SHARE:
        ratio = f"compression ratio above {MAX_COMPRESSION:g}"
        yield f"{repetitive:.0%} of the words are in repetitive text ({ratio})"
    if speech is None:
        without_speech = share(lambda s: s.no_speech_prob > MAX_NO_SPEECH)
        if without_speech > MAX_DOUBTFUL_SHARE:
            yield f"{without_speech:.0%} of the words are where the model detects no speech"
        return
    outside = share(lambda s: not _is_near(s, speech))
    if outside > MAX_DOUBTFUL_SHARE:
        yield f"{outside:.0%} of the words are outside the detected speech"
    yield _gaps(spoken, speech)


def _no_words(speech: SpeechSpans | None) -> str | None:
    if speech is None or total_s(speech) < MAX_WORDLESS_SPEECH_S:
        return None
    return f"{total_s(speech):.1f} s of speech and no words"


def _loop(words: Sequence[str]) -> str | None:
    """Return a reason if a phrase repeats again and again, a known failure of Whisper."""
    for n in range(1, min(LOOP_MAX_PHRASE_WORDS, len(words) // LOOP_MIN_REPEATS) + 1):
        same = 0  # consecutive words that equal the word n words before
        for at in range(n, len(words)):
            same = same + 1 if words[at] == words[at - n] else 0
            times = same // n + 1
            if times >= LOOP_MIN_REPEATS and times * n >= LOOP_MIN_WORDS:
                phrase = " ".join(words[at - n + 1 : at + 1])
                return f"{phrase[:60]!r} repeats at least {times} times in a row"
    return None


def _speech_rate(n_words: int, speech: SpeechSpans | None, duration_s: float) -> str | None:
    """Return a reason if there are too many or too few words for the seconds of speech."""
    spoken_s = duration_s if speech is None else total_s(speech)
    if n_words > MAX_WORDS_PER_S * spoken_s + 2:  # + 2: tolerance for very short recordings
        return f"{n_words} words in {spoken_s:.1f} s of speech"
    if (
        speech is not None
        and spoken_s > FEW_WORDS_SPEECH_S
        and n_words < MIN_WORDS_PER_S * spoken_s
    ):
        return f"only {n_words} word{'s' * (n_words > 1)} in {spoken_s:.1f} s of speech"
    return None


def _share_of_words(spoken: Sequence[Segment]) -> Callable[[Callable[[Segment], bool]], float]:
    """Return a function that computes the share of words in segments that meet a condition."""
    counts = [len(words_of(segment.text)) for segment in spoken]

    def share(condition: Callable[[Segment], bool]) -> float:
        n_words = sum(n for n, segment in zip(counts, spoken, strict=True) if condition(segment))
        return n_words / sum(counts)

    return share


def _is_near(segment: Segment, speech: SpeechSpans) -> bool:
    return any(
        start - TIMESTAMP_TOLERANCE_S <= segment.end
        and segment.start <= end + TIMESTAMP_TOLERANCE_S
        for start, end in speech
    )


def _gaps(spoken: Sequence[Segment], speech: SpeechSpans) -> str | None:
    """Return a reason if speech has no words: one long gap, or a large share in total."""
    gaps = [gap for gap in _uncovered(spoken, speech) if gap[1] - gap[0] > MIN_GAP_S]
    start, end = max(gaps, key=lambda gap: gap[1] - gap[0], default=(0.0, 0.0))
    if end - start > MAX_UNCOVERED_SPEECH_S:
        return f"no words from {start:.0f} s to {end:.0f} s, where speech was detected"
    missed_s, spoken_s = total_s(tuple(gaps)), total_s(speech)
    if missed_s > MAX_UNCOVERED_SHARE * spoken_s:
        return f"{missed_s:.1f} s of {spoken_s:.1f} s of speech have no words"
    return None


def _uncovered(spoken: Sequence[Segment], speech: SpeechSpans) -> Iterator[tuple[float, float]]:
    """Yield the parts of the speech spans that no segment covers."""
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
