"""Tests of greedy search, sampling and beam search with a decoder of known probabilities."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from thoth_watch.infrastructure.whisper.decoding.search import Search
from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens

# 0 a, 1 b, 2 c, 3 end, 4 no-timestamps, 5.. timestamps (one: 0.00)
A, B, C, END, STAMP = 0, 1, 2, 3, 5
SPECIAL_TOKENS = SpecialTokens(
    start=4,
    end=END,
    no_speech=None,
    no_timestamps=4,
    languages={},
    tasks={},
    suppressed=(),
    suppressed_first=(),
    max_initial_timestamp_index=None,
    max_length=None,
)
# After the timestamp A is more likely than B, but every continuation of A is unlikely.
NEXT = {
    (): {A: 0.5, B: 0.4, C: 0.1},
    (A,): {A: 0.2, B: 0.2, C: 0.2, END: 0.4},
    (B,): {A: 0.05, B: 0.05, C: 0.9},
    (B, C): {END: 0.95, A: 0.05},
}


class TableState:
    """A fake decoder state that looks up the next token in NEXT; unknown prefixes end."""

    def __init__(self, n_rows: int) -> None:
        self.read: list[tuple[int, ...]] = [()] * n_rows

    def keep(self, rows, *, within_windows=False):
        self.read = [self.read[row] for row in rows.tolist()]

    def without_tokens(self, rows=None):
        return TableState(len(self.read) if rows is None else len(rows))

    def step(self, tokens):
        self.read = [(*read, *new) for read, new in zip(self.read, tokens.tolist(), strict=True)]
        return self.logits()

    def logits(self):
        logits = torch.full((len(self.read), 6), -30.0)
        for row, read in enumerate(self.read):
            text = tuple(token for token in read if token < END)
            if not read:
                logits[row, STAMP] = 0.0
                continue
            for token, p in NEXT.get(text, {END: 1.0}).items():
                logits[row, token] = math.log(p)
        return logits


def search(positions=8):
    return Search(SPECIAL_TOKENS, size=6, positions=positions, device=torch.device("cpu"))


def start_rows(n_rows):
    state = TableState(n_rows)
    return state, state.logits()


def test_greedy_search_takes_the_most_likely_token_each_time():
    (found,) = search().run(*start_rows(1), prompt_length=0)

    assert found.tokens == (STAMP, A)
    assert found.avg_logprob == pytest.approx(math.log(0.5 * 0.4) / 3, abs=1e-4)


def test_beam_search_finds_a_likelier_sequence_with_a_less_likely_start():
    found = search().beam_search(*start_rows(2), prompt_length=0, beam_size=2)

    assert [f.tokens for f in found] == [(STAMP, B, C)] * 2
    assert found[0].avg_logprob == pytest.approx(math.log(0.4 * 0.9 * 0.95) / 4, abs=1e-4)


def test_one_beam_equals_greedy_search():
    (found,) = search().beam_search(*start_rows(1), prompt_length=0, beam_size=1)

    assert found.tokens == search().run(*start_rows(1), prompt_length=0)[0].tokens


def test_beams_that_never_end_are_cut_at_the_last_position():
    (found,) = search(positions=2).beam_search(*start_rows(1), prompt_length=0, beam_size=2)

    assert len(found.tokens) == 2


def test_finished_windows_do_not_affect_the_others():
    state, logits = start_rows(3)
    state.read[1] = (STAMP, B)  # this window has decoded more tokens
    logits[1] = state.logits()[1]
    logits[1, STAMP] = 10.0  # the first token of a window must be a timestamp

    found = search().beam_search(state, logits, prompt_length=0, beam_size=3)

    assert found[0].tokens == found[2].tokens == (STAMP, B, C)
    assert found[1].tokens[-1] == C


def test_sampled_tokens_depend_only_on_the_draws():
    draws = torch.tensor([[0.5, 0.3, 0.99, 0.5], [0.5, 0.8, 0.2, 0.9]])
    batched = search(4).run(*start_rows(2), prompt_length=0, temperature=1.0, draws=draws)
    single = [
        search(4).run(*start_rows(1), prompt_length=0, temperature=1.0, draws=draws[i : i + 1])[0]
        for i in range(2)
    ]

    assert [d.tokens for d in batched] == [d.tokens for d in single]
    assert batched[0].tokens[1] == A  # 0.3 is within A's 0.0 to 0.5
    assert batched[1].tokens[1] == B  # 0.8 is within B's 0.5 to 0.9


def test_tokens_are_sampled_with_their_probability():
    rows = 400
    grid = (torch.arange(rows) + 0.5) / rows
    draws = torch.stack([torch.full((rows,), 0.5), grid, grid, grid], dim=1)

    found = search(4).run(*start_rows(rows), prompt_length=0, temperature=1.0, draws=draws)

    firsts = [f.tokens[1] for f in found]
    shares = [firsts.count(token) / rows for token in (A, B, C)]
    assert shares == pytest.approx([0.5, 0.4, 0.1], abs=0.01)


@pytest.mark.parametrize(("penalty", "patience"), list(product([None, 0.0, 1.0], [1.0, 2.0])))
def test_length_penalty_and_patience_are_accepted(penalty, patience):
    (found,) = search().beam_search(
        *start_rows(1), prompt_length=0, beam_size=2, patience=patience, length_penalty=penalty
    )

    assert found.tokens in {(STAMP, B, C), (STAMP, A)}
