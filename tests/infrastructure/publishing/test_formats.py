from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth_watch.domain.file_options import FORMATS
from thoth_watch.domain.transcript import Segment, Transcript, Verdict, Word
from thoth_watch.infrastructure.publishing import render

EMPTY = Transcript((), "en", 2.5, Verdict.EMPTY)
SPOKEN = Transcript(
    (
        Segment(0.0, 1.5, " seven\n o'clock", tokens=(1, 2), seek=0),
        Segment(1.5, 3.25, " a --> b\tc", words=(Word(1.5, 2.0, " a", 0.9),)),
        Segment(3600.0, 3661.007, " späť 北京", temperature=0.2, avg_logprob=-0.5),
    ),
    "en",
    3662.0,
    Verdict.SUSPECT,
    warnings=("quiet",),
)


def text_of(transcript: Transcript, format_name: str) -> str:
    return render(transcript, format_name, provenance={"program": "thoth-watch"}).decode()


def test_txt_has_one_segment_a_line() -> None:
    assert text_of(SPOKEN, "txt") == "seven  o'clock\na --> b c\nspäť 北京\n"


def test_srt_is_numbered_with_hours_and_commas() -> None:
    assert text_of(SPOKEN, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nseven  o'clock\n\n"
        "2\n00:00:01,500 --> 00:00:03,250\na -> b c\n\n"
        "3\n01:00:00,000 --> 01:01:01,007\nspäť 北京\n\n"
    )


def test_vtt_omits_hours_below_one_hour() -> None:
    assert text_of(SPOKEN, "vtt") == (
        "WEBVTT\n\n00:00.000 --> 00:01.500\nseven  o'clock\n\n"
        "00:01.500 --> 00:03.250\na -&gt; b c\n\n"
        "01:00:00.000 --> 01:01:01.007\nspäť 北京\n\n"
    )


def test_tsv_has_whole_milliseconds() -> None:
    assert text_of(SPOKEN, "tsv").splitlines() == [
        "start\tend\ttext",
        "0\t1500\tseven  o'clock",
        "1500\t3250\ta --> b c",
        "3600000\t3661007\tspäť 北京",
    ]


def test_json_has_whispers_keys_and_the_provenance() -> None:
    document = json.loads(text_of(SPOKEN, "json"))
    assert list(document) == ["text", "segments", "language", "duration", "verdict", "thoth_watch"]
    assert list(document["segments"][0]) == [
        "id",
        "seek",
        "start",
        "end",
        "text",
        "tokens",
        "temperature",
        "avg_logprob",
        "compression_ratio",
        "no_speech_prob",
    ]
    assert document["segments"][1]["words"] == [
        {"word": " a", "start": 1.5, "end": 2.0, "probability": 0.9}
    ]
    assert document["duration"] == 3662.0
    assert document["verdict"] == "suspect"
    assert document["thoth_watch"] == {
        "duration": 3662.0,
        "verdict": "suspect",
        "reasons": [],
        "warnings": ["quiet"],
        "program": "thoth-watch",
    }


@pytest.mark.parametrize(
    ("format_name", "content"),
    [("txt", b""), ("srt", b""), ("vtt", b"WEBVTT\n\n"), ("tsv", b"start\tend\ttext\n")],
)
def test_a_transcript_without_words_is_a_valid_file(format_name: str, content: bytes) -> None:
    assert render(EMPTY, format_name) == content


def test_a_transcript_without_words_is_valid_json() -> None:
    document = json.loads(render(EMPTY, "json"))
    assert (document["text"], document["segments"], document["verdict"]) == ("", [], "empty")


def test_non_finite_numbers_become_null_and_surrogates_are_replaced() -> None:
    odd = Transcript(
        (Segment(0.0, float("nan"), "a\ud800b", avg_logprob=float("-inf")),), "en", 1.0
    )
    document = json.loads(render(odd, "json", provenance={"audio_name": "x\udcff.wav"}))
    assert document["segments"][0]["avg_logprob"] is None
    assert document["text"] == "a\ufffdb"
    assert document["thoth_watch"]["audio_name"] == "x\ufffd.wav"
    assert render(odd, "srt").decode().splitlines()[2] == "a\ufffdb"


times = st.floats(-5, 1e5) | st.sampled_from([float("nan"), float("inf")])
segments = st.builds(Segment, times, times, st.text(alphabet=st.characters(), max_size=20))


@given(st.lists(segments, max_size=8))
def test_subtitles_of_any_segments_are_in_order_without_overlap(items) -> None:
    transcript = Transcript(tuple(items), "en", 1.0)
    for format_name in FORMATS:
        render(transcript, format_name).decode()
    rows = render(transcript, "tsv").decode().split("\n")[1:-1]
    before = 0
    for row in rows:
        start, end, text = row.split("\t")
        assert before <= int(start) < int(end)
        assert text.strip()
        before = int(end)
    srt = render(transcript, "srt").decode()
    blocks = srt.split("\n\n")[:-1]
    assert len(blocks) == len(rows)
    for number, block in enumerate(blocks, start=1):
        first, clock, text = block.split("\n")
        assert first == str(number)
        assert re.fullmatch(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}", clock)
        assert "-->" not in text
