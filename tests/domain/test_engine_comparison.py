from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth_watch.domain.engine_comparison import BenchmarkPass, BenchmarkSummary, word_agreement


def a_pass(cpu_s: float, *, text: str = "one two") -> BenchmarkPass:
    return BenchmarkPass(
        cpu_s=cpu_s, wall_s=2 * cpu_s, stages={"encode": cpu_s / 2}, texts=[text, "three"]
    )


def test_figures_are_medians_so_that_one_disturbed_pass_has_no_effect():
    figures = BenchmarkSummary.of([a_pass(1.0), a_pass(50.0), a_pass(2.0)])

    assert (figures.cpu_s, figures.wall_s) == (2.0, 4.0)
    assert figures.stages == {"encode": 1.0}
    assert figures.words == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("words", "others", "share"),
    [
        ("a b c d", "a b c d", 1.0),
        ("a b c d", "a x c d", 0.75),
        ("a b c d", "a b c d e", 0.8),  # additional words count, too
        ("a b", "", 0.0),
        ("", "", 1.0),
        # repetitions: the longest equal run is a shifted one, with which fewer words would agree
        ("a b c d " * 5, "x b c d a b c x a b c d a x c d a b c d", 0.85),
    ],
)
def test_words_agree_if_they_are_in_the_same_order(words: str, others: str, share: float):
    assert word_agreement(words.split(), others.split()) == share


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_word_agreement_is_the_longest_common_subsequence(words: list[str], others: list[str]):
    row = [0] * (len(others) + 1)
    for word in words:
        above, row = row, [0]
        for j, other in enumerate(others, start=1):
            row.append(above[j - 1] + 1 if word == other else max(above[j], row[-1]))

    assert word_agreement(words, others) * max(len(words), len(others)) == pytest.approx(row[-1])
