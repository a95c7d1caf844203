"""Greedy, drawn and beam-searched tokens over a decoder whose probabilities are known."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from thoth_watch.infrastructure.whisper.search import Search
from thoth_watch.infrastructure.whisper.special_tokens import SpecialTokens

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
# after the timestamp a is likelier than b, but all that follows a is unlikely
NEXT = {
    (): {A: 0.5, B: 0.4, C: 0.1},
    (A,): {A: 0.2, B: 0.2, C: 0.2, END: 0.4},
    (B,): {A: 0.05, B: 0.05, C: 0.9},
    (B, C): {END: 0.95, A: 0.05},
}


class Table:
    """A decoder that looks its answers up; each row remembers what it has read."""

    def __init__(self, n_rows: int) -> None:
        self.read: list[tuple[int, ...]] = [()] * n_rows

    def keep(self, rows, *, within_windows=False):
        self.read = [self.read[row] for row in rows.tolist()]

    def without_tokens(self, rows=None):
        return Table(len(self.read) if rows is None else len(rows))


class TableSteps:
    """See Table; unknown texts end."""

    def step(self, tokens, cache):
        cache.read = [(*read, *new) for read, new in zip(cache.read, tokens.tolist(), strict=True)]
        return self.logits(cache)

    @staticmethod
    def logits(cache):
        logits = torch.full((len(cache.read), 6), -30.0)
        for row, read in enumerate(cache.read):
            words = tuple(token for token in read if token < END)
            if not read:
                logits[row, STAMP] = 0.0
                continue
            for token, p in NEXT.get(words, {END: 1.0}).items():
                logits[row, token] = math.log(p)
        return logits


def search(positions=8):
    return Search(
        TableSteps(), SPECIAL_TOKENS, size=6, positions=positions, device=torch.device("cpu")
    )


def started(n_rows):
    cache = Table(n_rows)
    return cache, TableSteps.logits(cache)


def test_the_greedy_way_takes_the_likeliest_token_each_time():
    (found,) = search().run(*started(1), prompt_length=0)

    assert found.tokens == (STAMP, A)
    assert found.avg_logprob == pytest.approx(math.log(0.5 * 0.4) / 3, abs=1e-4)


def test_beams_find_what_begins_worse_and_ends_better():
    found = search().beam_search(*started(2), prompt_length=0, beam_size=2)

    assert [f.tokens for f in found] == [(STAMP, B, C)] * 2
    assert found[0].avg_logprob == pytest.approx(math.log(0.4 * 0.9 * 0.95) / 4, abs=1e-4)


def test_one_beam_is_greedy():
    (found,) = search().beam_search(*started(1), prompt_length=0, beam_size=1)

    assert found.tokens == search().run(*started(1), prompt_length=0)[0].tokens


def test_beams_that_never_end_are_cut_where_the_positions_end():
    (found,) = search(positions=2).beam_search(*started(1), prompt_length=0, beam_size=2)

    assert len(found.tokens) == 2


def test_windows_that_are_done_do_not_disturb_the_others():
    cache, logits = started(3)
    cache.read[1] = (STAMP, B)  # this one is further on
    logits[1] = TableSteps.logits(cache)[1]
    logits[1, STAMP] = 10.0  # its first token must be a timestamp, as every window's

    found = search().beam_search(cache, logits, prompt_length=0, beam_size=3)

    assert found[0].tokens == found[2].tokens == (STAMP, B, C)
    assert found[1].tokens[-1] == C


def test_what_is_drawn_depends_on_the_draws_alone():
    draws = torch.tensor([[0.5, 0.3, 0.99, 0.5], [0.5, 0.8, 0.2, 0.9]])
    together = search(4).run(*started(2), prompt_length=0, temperature=1.0, draws=draws)
    alone = [
        search(4).run(*started(1), prompt_length=0, temperature=1.0, draws=draws[i : i + 1])[0]
        for i in range(2)
    ]

    assert [d.tokens for d in together] == [d.tokens for d in alone]
    assert together[0].tokens[1] == A  # 0.3 lies within its 0.5
    assert together[1].tokens[1] == B  # 0.8 lies within 0.5 to 0.9


def test_tokens_are_drawn_as_often_as_they_are_likely():
    rows = 400
    grid = (torch.arange(rows) + 0.5) / rows
    draws = torch.stack([torch.full((rows,), 0.5), grid, grid, grid], dim=1)

    found = search(4).run(*started(rows), prompt_length=0, temperature=1.0, draws=draws)

    firsts = [f.tokens[1] for f in found]
    shares = [firsts.count(token) / rows for token in (A, B, C)]
    assert shares == pytest.approx([0.5, 0.4, 0.1], abs=0.01)


@pytest.mark.parametrize(("penalty", "patience"), list(product([None, 0.0, 1.0], [1.0, 2.0])))
def test_length_penalty_and_patience_are_taken(penalty, patience):
    (found,) = search().beam_search(
        *started(1), prompt_length=0, beam_size=2, patience=patience, length_penalty=penalty
    )

    assert found.tokens in {(STAMP, B, C), (STAMP, A)}
