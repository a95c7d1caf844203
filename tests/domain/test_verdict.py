"""Unreliable transcripts are detected, each with the reasons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth_watch.domain.transcript import Segment, Verdict
from thoth_watch.domain.verdict import judge, words_of

GOOD = Segment(1.0, 6.0, " Please call Anna on Monday about the red boat and the two dogs.")
SPEECH = ((1.0, 6.0),)


def at(start: float, end: float, text: str, **facts: float) -> Segment:
    return Segment(start, end, text, **facts)


def test_words_within_detected_speech_are_ok() -> None:
    judged = judge([GOOD], speech=SPEECH, duration_s=10.0)

    assert (judged.verdict, judged.reasons) == (Verdict.OK, ())
    assert judge([GOOD], speech=None, duration_s=10.0).verdict is Verdict.OK


@pytest.mark.parametrize("speech", [None, (), ((3.0, 3.4),)])
def test_silence_is_empty_with_and_without_speech_detection(speech) -> None:
    assert judge([], speech=speech, duration_s=10.0).verdict is Verdict.EMPTY
    assert judge([at(0, 1, " ... ")], speech=speech, duration_s=10.0).verdict is Verdict.EMPTY


def test_a_recording_that_was_cut_is_truncated_and_other_reasons_are_reported_too() -> None:
    cut = "truncated: 9.0 s declared, 1.0 s decoded"

    judged = judge([], speech=SPEECH, duration_s=1.0, warnings=("clipped: loud", cut))

    assert judged.verdict is Verdict.TRUNCATED
    assert judged.reasons == (cut, "5.0 s of speech and no words")


LOOP = " and then he went home" * 5
MINUTE = tuple((5.0 * n, 5.0 * n + 4.0) for n in range(12))


@pytest.mark.parametrize(
    ("segments", "speech", "reason"),
    [
        ([at(1, 9, LOOP)], ((1.0, 9.0),), "repeats at least 4 times in a row"),
        (
            [at(i, i + 1, " Thank you.") for i in range(6)],
            ((0.0, 6.0),),
            "'thank you' repeats at least 4",
        ),
        ([at(1, 9, "謝謝你" * 6)], ((1.0, 9.0),), "repeats at least 4 times in a row"),
        ([at(1, 9, " la" * 9)], ((1.0, 9.0),), "'la' repeats at least 8 times"),
        ([at(1.0, 1.5, GOOD.text)], ((1.0, 1.5),), "13 words in 0.5 s of speech"),
        ([at(1.0, 2.0, " Yes.")], ((0.0, 3.0), (4.0, 20.0)), "only 1 word in 19.0 s of speech"),
        ([], SPEECH, "5.0 s of speech and no words"),
        ([GOOD], (), "13 words in 0.0 s of speech"),
        ([GOOD, at(30, 34, " Thanks for watching.")], SPEECH, "outside the detected speech"),
        ([at(1, 6, GOOD.text, avg_logprob=-1.2)], SPEECH, "100% of the words are unlikely"),
        ([at(1, 6, GOOD.text, avg_logprob=-0.85)], None, "100% of the words are unlikely"),
        (
            [at(1, 6, GOOD.text, compression_ratio=2.5)],
            SPEECH,
            "repetitive text (compression ratio above 2.4)",
        ),
        ([at(1, 6, GOOD.text, no_speech_prob=0.9)], None, "the model detects no speech"),
        (
            [at(0, 20, GOOD.text), at(41, 60, GOOD.text)],
            ((0.0, 60.0),),
            "no words from 20 s to 41 s, where speech was detected",
        ),
        (
            [at(1, 3, " Hello there."), at(9, 11, " Good bye.")],
            ((1.0, 3.0), (4.5, 7.0), (9.0, 11.0)),
            "2.5 s of 6.5 s of speech have no words",
        ),
    ],
)
def test_each_sign_of_hallucination_or_missing_text_is_reported(segments, speech, reason) -> None:
    judged = judge(segments, speech=speech, duration_s=60.0)

    assert judged.verdict is Verdict.SUSPECT
    assert any(reason in text for text in judged.reasons), judged.reasons


@pytest.mark.parametrize(
    "text",
    [
        " No, no, no, no. I said no.",
        " Seven seven seven seven, one two three.",
        " Row, row, row your boat, gently down the stream.",
        " to be or not to be, that is the question",
    ],
)
def test_natural_repetition_is_not_a_loop(text: str) -> None:
    assert judge([at(1, 6, text)], speech=SPEECH, duration_s=10.0).verdict is Verdict.OK


def test_one_unreliable_segment_in_a_long_recording_is_ok() -> None:
    spoken = [at(start, end, f"{GOOD.text} It is {start:.0f}.") for start, end in MINUTE]
    spoken[3] = at(15, 19, GOOD.text, avg_logprob=-1.5, compression_ratio=3.0)

    assert judge(spoken, speech=MINUTE, duration_s=60.0).verdict is Verdict.OK


def test_whispers_timestamps_may_be_a_second_off() -> None:
    late = [at(1.9, 6.5, GOOD.text), at(6.9, 8.0, " Yes, of course it is.")]

    assert judge(late, speech=SPEECH, duration_s=10.0).verdict is Verdict.OK


def test_slightly_unlikely_words_are_ok_within_detected_speech() -> None:
    unlikely = [at(1, 6, GOOD.text, avg_logprob=-0.85)]

    assert judge(unlikely, speech=SPEECH, duration_s=10.0).verdict is Verdict.OK
    assert judge(unlikely, speech=None, duration_s=10.0).verdict is Verdict.SUSPECT


def test_a_character_of_a_language_without_spaces_is_a_word() -> None:
    assert words_of("北京 O'Clock, it\u2019s 5! お") == [
        "北",
        "京",
        "o'clock",
        "it\u2019s",
        "5",
        "お",
    ]


segments = st.builds(
    Segment,
    st.floats(0, 100),
    st.floats(0, 100),
    st.text(max_size=30) | st.sampled_from([" a b c", LOOP]),
    avg_logprob=st.floats(-3, 0),
    compression_ratio=st.floats(0, 4),
    no_speech_prob=st.floats(0, 1),
)
speech_spans = st.lists(st.floats(0, 100), max_size=8, unique=True).map(
    lambda times: tuple(zip(sorted(times)[::2], sorted(times)[1::2], strict=False))
)


@given(st.lists(segments, max_size=6), st.none() | speech_spans)
def test_any_transcript_gets_a_verdict_and_a_suspect_one_has_a_reason(spoken, speech) -> None:
    judged = judge(spoken, speech=speech, duration_s=100.0)

    assert (judged.verdict in {Verdict.SUSPECT, Verdict.TRUNCATED}) == bool(judged.reasons)
    has_words = any(words_of(segment.text) for segment in spoken)
    assert judged.verdict is not Verdict.OK or has_words
    assert judged.verdict is not Verdict.EMPTY or not has_words
