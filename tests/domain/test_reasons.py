from __future__ import annotations

import pytest

from thoth_watch.domain.reasons import normalize_reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the disk is full (tried again in 60 s)", "the disk is full (tried again alone)"),
        ("the disk is full (retrying in 60 s)", "the disk is full (tried again in 60 s)"),
        ("/in/a.wav: Permission denied", "/in/b/c.wav: Permission denied"),
        ("decoding hung: stopped after 90 s", "decoding hung: stopped after 1,200 s"),
        ("a.txt is not ours; it is a.thoth-1.txt", "b.txt is not ours; it is b.thoth-2.txt"),
        ("cannot open 'a b.wav'", "cannot open 'c.wav'"),
    ],
)
def test_the_same_problem_of_two_files_has_one_normalized_reason(one: str, other: str):
    assert normalize_reason(one) == normalize_reason(other)


def test_different_problems_have_different_normalized_reasons():
    assert normalize_reason("the disk is full") != normalize_reason("no sound in it")
    assert normalize_reason("it is <b>bold</b> text") == "it is <b>bold</b> text"
