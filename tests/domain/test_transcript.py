"""How far a transcript may be believed."""

from __future__ import annotations

import pytest

from thoth_watch.domain.transcript import Verdict, verdict_of


@pytest.mark.parametrize(
    ("text", "warnings", "expected"),
    [
        ("words", (), Verdict.OK),
        ("", (), Verdict.EMPTY),
        ("words", ("truncated: 9.0 s declared, 1.0 s decoded",), Verdict.TRUNCATED),
        ("", ("damaged: a packet", "truncated: the last Ogg page is missing"), Verdict.TRUNCATED),
        ("", ("damaged: a packet",), Verdict.EMPTY),
    ],
)
def test_a_cut_recording_is_truncated_and_silence_is_empty(text, warnings, expected):
    assert verdict_of(text, warnings) is expected
