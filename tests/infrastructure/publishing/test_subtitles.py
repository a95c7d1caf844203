"""Subtitles follow the configured layout, and independent readers parse them with the same result."""

from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Iterator
from itertools import pairwise

import pysubs2
import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Segment, Transcript, Word
from thoth_watch.infrastructure.publishing import render
from thoth_watch.infrastructure.publishing.cues import Cue, cues_of, display_width

WHISPER_LAYOUT = SubtitleLayout(max_line_width=None, max_line_count=None, reading_speed=None)
SENTENCE = (
    " The quick brown fox jumps over the lazy dog, and then it goes home to sleep for a week."
)
WORDS = [
    *(
        "please",
        "call",
        "Anna",
        "on",
        "Monday.",
        "O'Clock,",
        "a<b",
        "&",
        "AT&T",
        "x>y",
        "<i>no</i>",
    ),
    *(
        "-->",
        "--->",
        "42",
        "3",
        "1:00",
        "über",
        "Česko",
        "北京市",
        "お元気ですか",
        "안녕",
        "🎧",
        "«oui»",
    ),
    *("&amp;", "{\\an8}", "NOTE", "WEBVTT", "STYLE", "a\u2028b", "c\u0085d", "e\x0bf", "g\x00h"),
    *("Donaudampfschifffahrtsgesellschaftskapitänswitwenrente", "-", "…"),
]


def transcript_of(*segments: Segment, duration_s: float = 60.0) -> Transcript:
    return Transcript(segments, "en", duration_s)


def cue_texts(transcript: Transcript, layout: SubtitleLayout) -> list[tuple[int, int, str]]:
    return [(cue.start_ms, cue.end_ms, cue.text) for cue in cues_of(transcript, layout)]


def timed_segment(text: str, start: float, end: float) -> Segment:
    parts = re.findall(r"\s*\S+", text)
    step = (end - start) / len(parts)
    words = tuple(
        Word(start + i * step, start + (i + 1) * step, part, 1.0) for i, part in enumerate(parts)
    )
    return Segment(start, end, text, words=words)


def test_without_limits_a_cue_is_a_segment_as_whisper_writes_it() -> None:
    spoken = transcript_of(Segment(0.0, 20.0, SENTENCE), Segment(20.0, 21.0, " Yes."))

    assert cue_texts(spoken, WHISPER_LAYOUT) == [
        (0, 20_000, SENTENCE.strip()),
        (20_000, 21_000, "Yes."),
    ]


def test_a_long_segment_becomes_cues_of_two_lines_with_times_by_characters() -> None:
    spoken = transcript_of(Segment(10.0, 18.8, SENTENCE * 2))

    cues = cue_texts(spoken, SubtitleLayout(reading_speed=None))

    assert [text for _, _, text in cues] == [
        "The quick brown fox jumps over the lazy\ndog, and then it goes home to sleep for a",
        "week. The quick brown fox jumps over the\nlazy dog, and then it goes home to sleep",
        "for a week.",
    ]
    assert (cues[0][0], cues[-1][1]) == (10_000, 18_800)
    assert [start for start, _, _ in cues[1:]] == [end for _, end, _ in cues[:-1]]
    assert cues[0][1] == pytest.approx(10_000 + 8_800 * 81 / len(SENTENCE * 2), abs=60)


def test_word_timestamps_set_the_times_of_cues() -> None:
    spoken = transcript_of(timed_segment(" one two three four", 2.0, 6.0))

    cues = cue_texts(spoken, SubtitleLayout(max_words_per_line=2, reading_speed=None))

    assert cues == [(2000, 4000, "one two"), (4000, 6000, "three four")]


def test_words_that_differ_from_the_text_are_not_used() -> None:
    segment = Segment(0.0, 2.0, " all of it", words=(Word(0.5, 0.9, " all", 1.0),))

    assert cue_texts(transcript_of(segment), WHISPER_LAYOUT) == [(0, 2000, "all of it")]


def test_text_without_spaces_is_split_at_half_the_width_for_wide_characters() -> None:
    spoken = transcript_of(Segment(0.0, 10.0, "北" * 50))

    (cue,) = cues_of(spoken, SubtitleLayout(max_line_count=3))

    assert [len(line) for line in cue.text.split("\n")] == [21, 21, 8]


def test_the_spoken_word_is_underlined_and_none_between_words() -> None:
    words = (Word(0.0, 1.0, " a<b", 1.0), Word(1.5, 2.0, " c", 1.0))
    spoken = transcript_of(Segment(0.0, 2.0, " a<b c", words=words))
    layout = SubtitleLayout(highlight_words=True, reading_speed=None)

    assert render(spoken, "vtt", layout=layout).decode() == (
        "WEBVTT\n\n00:00.000 --> 00:01.000\n<u>a&lt;b</u> c\n\n"
        "00:01.000 --> 00:01.500\na&lt;b c\n\n"
        "00:01.500 --> 00:02.000\na&lt;b <u>c</u>\n\n"
    )


def test_a_cue_is_extended_to_its_reading_time_at_most_to_the_next_cue_or_the_end() -> None:
    text = " forty characters are read in two seconds"  # 40 without the space
    spoken = transcript_of(
        Segment(1.0, 1.5, text), Segment(10.0, 10.5, text), Segment(11.0, 11.5, text), duration_s=12
    )

    assert [(s, e) for s, e, _ in cue_texts(spoken, SubtitleLayout())] == [
        (1000, 3000),
        (10_000, 11_000),
        (11_000, 12_000),
    ]


def random_transcript(seed: int) -> Transcript:
    rng = random.Random(seed)
    segments, now = [], rng.choice([0.0, 0.0, 3590.0, 86_390.0])
    for _ in range(rng.randint(1, 12)):
        text = "".join(f" {word}" for word in rng.choices(WORDS, k=rng.randint(1, 40)))
        end = now + rng.uniform(0.2, 30.0)
        made = timed_segment if rng.random() < 0.5 else Segment
        segments.append(
            made(round(now, 3), round(end, 3), text)
            if made is Segment
            else timed_segment(text, now, end)
        )
        now = end + rng.choice([0.0, 0.0, rng.uniform(0, 10)])
    return transcript_of(*segments, duration_s=now)


LAYOUTS = [
    SubtitleLayout(),
    WHISPER_LAYOUT,
    SubtitleLayout(max_line_width=20, max_line_count=3, max_words_per_line=7),
    SubtitleLayout(max_line_width=32, max_line_count=1, reading_speed=12.0),
]


def read_with_srt(text: str) -> Iterator[tuple[int, int, str]]:
    subtitles = list(srt.parse(text, ignore_errors=False))
    assert [subtitle.index for subtitle in subtitles] == list(range(1, len(subtitles) + 1))
    for subtitle in subtitles:
        times = (round(t.total_seconds() * 1000) for t in (subtitle.start, subtitle.end))
        yield (*times, subtitle.content)


def read_with_pysubs2(text: str, kind: str) -> Iterator[tuple[int, int, str]]:
    """Yield cues with their tags and escapes as in the file."""
    for event in pysubs2.SSAFile.from_string(text, format_=kind, keep_html_tags=True):
        yield event.start, event.end, event.text.replace("\\N", "\n")


def read_with_webvtt(text: str) -> Iterator[tuple[int, int, str]]:
    for caption in webvtt.from_string(text):
        start, end = (
            ((at.hours * 60 + at.minutes) * 60 + at.seconds) * 1000 + at.milliseconds
            for at in (caption.start_time, caption.end_time)
        )
        yield start, end, html.unescape(caption.raw_text)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["ours", "whispers", "narrow", "one line"])
def test_two_subtitle_readers_parse_text_and_times_of_300_transcripts(
    layout: SubtitleLayout,
) -> None:
    for seed in range(300):
        transcript = random_transcript(seed)
        as_srt, as_vtt = (render(transcript, k, layout=layout).decode() for k in ("srt", "vtt"))
        expected = [
            (c.start_ms, c.end_ms, c.text.replace("--->", "->").replace("-->", "->"))
            for c in cues_of(transcript, layout)
        ]

        assert list(read_with_srt(as_srt)) == expected, seed
        assert list(read_with_pysubs2(as_srt, "srt")) == expected, seed
        assert list(read_with_webvtt(as_vtt)) == expected, seed
        escaped = [(start, end, html.escape(text, quote=False)) for start, end, text in expected]
        assert list(read_with_pysubs2(as_vtt, "vtt")) == escaped, seed


def test_every_layout_keeps_all_words_in_order() -> None:
    for seed in range(300):
        transcript = random_transcript(seed)
        expected = "".join(segment.text for segment in transcript.segments)
        for layout in LAYOUTS:
            shown_text = " ".join(cue.text for cue in cues_of(transcript, layout))
            assert _letters(shown_text) == _letters(expected), seed


def _letters(text: str) -> str:
    return "".join(re.sub(r"[\s\x00-\x1f\x85\u2028]", "", text))


texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=30), max_size=30).map(" ".join)
layouts = st.builds(
    SubtitleLayout,
    max_line_width=st.none() | st.integers(8, 60),
    max_line_count=st.none() | st.integers(1, 3),
    max_words_per_line=st.none() | st.integers(1, 9),
    reading_speed=st.none() | st.floats(1, 100),
)


@given(texts, layouts, st.booleans())
def test_no_line_is_blank_or_too_wide_and_no_cue_has_too_many_lines(text, layout, is_timed) -> None:
    segment = (
        timed_segment(text, 0.0, 9.0) if is_timed and text.strip() else Segment(0.0, 9.0, text)
    )
    cues: list[Cue] = cues_of(transcript_of(segment), layout)

    for before, after in pairwise(cues):
        assert before.start_ms < before.end_ms <= after.start_ms
    for cue in cues:
        lines = cue.text.split("\n")
        assert all(line.strip() for line in lines)
        assert len(lines) <= (layout.max_line_count or len(lines))
        if layout.max_words_per_line:
            assert sum(len(line) for line in cue.lines) <= layout.max_words_per_line
        if layout.max_line_width and not segment.words:
            assert all(display_width(line) <= layout.max_line_width for line in lines)


CALL = transcript_of(
    Segment(0.0, 4.0, " Hello? Is anybody there at all?", channel="left"),
    Segment(3.0, 5.0, " Yes.", channel="right"),
    Segment(5.0, 6.0, " I am.", channel="right"),
    Segment(6.5, 7.5, " Good.", channel="left"),
)


def test_a_change_of_the_channel_is_labeled() -> None:
    assert render(CALL, "txt").decode() == (
        "[left] Hello? Is anybody there at all?\n[right] Yes.\nI am.\n[left] Good.\n"
    )
    layout = SubtitleLayout(reading_speed=None)
    expected = [
        (0, 4000, "[left] Hello? Is anybody there at all?"),
        (3000, 5000, "[right] Yes."),
        (5000, 6000, "I am."),
        (6500, 7500, "[left] Good."),
    ]
    as_srt, as_vtt = (render(CALL, k, layout=layout).decode() for k in ("srt", "vtt"))
    assert list(read_with_srt(as_srt)) == list(read_with_pysubs2(as_srt, "srt")) == expected
    assert list(read_with_webvtt(as_vtt)) == list(read_with_pysubs2(as_vtt, "vtt")) == expected


def test_a_channel_label_makes_no_line_too_wide_and_tsv_has_none() -> None:
    long = transcript_of(Segment(0.0, 9.0, SENTENCE, channel="channel 3"))

    for cue in cues_of(long, SubtitleLayout()):
        assert all(display_width(line) <= 42 for line in cue.text.split("\n"))
    assert (
        render(CALL, "tsv").decode().splitlines()[1] == "0\t4000\tHello? Is anybody there at all?"
    )
    assert '"channel": "right"' in render(CALL, "json").decode()


MEETING = transcript_of(
    Segment(0.0, 4.0, " Shall we begin?", speaker="SPEAKER_00"),
    Segment(4.0, 5.0, " Please.", speaker="SPEAKER_00"),
    Segment(5.0, 6.0, " I am late.", speaker="SPEAKER_01"),
    Segment(6.5, 7.5, " Hm."),
)


def test_speakers_are_named_as_whisperx_names_them() -> None:
    assert render(MEETING, "txt").decode() == (
        "[SPEAKER_00]: Shall we begin?\n[SPEAKER_00]: Please.\n[SPEAKER_01]: I am late.\nHm.\n"
    )
    expected = [
        (0, 4000, "[SPEAKER_00]: Shall we begin?"),
        (4000, 5000, "[SPEAKER_00]: Please."),
        (5000, 6000, "[SPEAKER_01]: I am late."),
        (6500, 7500, "Hm."),
    ]
    layout = SubtitleLayout(reading_speed=None)
    as_srt, as_vtt = (render(MEETING, k, layout=layout).decode() for k in ("srt", "vtt"))
    assert list(read_with_srt(as_srt)) == list(read_with_pysubs2(as_srt, "srt")) == expected
    assert list(read_with_webvtt(as_vtt)) == list(read_with_pysubs2(as_vtt, "vtt")) == expected
    assert render(MEETING, "tsv").decode().splitlines()[2] == "4000\t5000\tPlease."


def test_json_has_speakers_of_segments_and_words_and_no_key_without_a_speaker() -> None:
    words = (Word(0.0, 1.0, " Yes.", 0.9, "SPEAKER_01"), Word(1.0, 2.0, " No.", 0.9))
    transcript = transcript_of(Segment(0.0, 2.0, " Yes. No.", words=words, speaker="SPEAKER_01"))

    (segment,) = json.loads(render(transcript, "json"))["segments"]

    assert segment["speaker"] == "SPEAKER_01"
    assert segment["words"][0]["speaker"] == "SPEAKER_01"
    assert "speaker" not in segment["words"][1]
    assert "speaker" not in json.loads(render(MEETING, "json"))["segments"][3]


def test_a_speaker_label_makes_no_line_too_wide() -> None:
    long = transcript_of(Segment(0.0, 9.0, SENTENCE, speaker="SPEAKER_00"))

    for cue in cues_of(long, SubtitleLayout()):
        assert cue.text.startswith("[SPEAKER_00]: ")
        assert all(display_width(line) <= 42 for line in cue.text.split("\n"))
