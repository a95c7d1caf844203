"""Tests that the timestamp rules of a batch equal transformers' rules for each row."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens
from thoth_watch.infrastructure.whisper.decoding.timestamp_rules import TimestampRules

N_WORDS, N_STAMPS = 30, 20
END, START, NO_SPEECH, NO_TIMESTAMPS = range(N_WORDS, N_WORDS + 4)
BEGIN = NO_TIMESTAMPS + 1
SPECIAL_TOKENS = SpecialTokens(
    start=START,
    end=END,
    no_speech=NO_SPEECH,
    no_timestamps=NO_TIMESTAMPS,
    languages={},
    tasks={},
    suppressed=(),
    suppressed_first=(),
    max_initial_timestamp_index=5,
    max_length=None,
)


@pytest.mark.parametrize("seed", range(20))
def test_every_step_forbids_the_tokens_that_transformers_forbids(seed: int):
    torch.manual_seed(seed)
    config = GenerationConfig(
        eos_token_id=END, bos_token_id=END, no_timestamps_token_id=NO_TIMESTAMPS,
        max_initial_timestamp_index=5,
    )  # fmt: skip
    reference = WhisperTimeStampLogitsProcessor(config, begin_index=1)
    n_windows = 6
    rules = TimestampRules(SPECIAL_TOKENS, n_windows, torch.device("cpu"))
    tokens = torch.full((n_windows, 1), START)
    kinds = set()
    for _ in range(25):
        scores = 3 * torch.randn(n_windows, BEGIN + N_STAMPS)
        scores[:, BEGIN:] -= 1.5
        expected = reference(tokens, scores)

        rules.apply(scores)

        torch.testing.assert_close(scores, expected)
        chosen = torch.distributions.Categorical(logits=expected).sample()
        kinds |= set((chosen >= BEGIN).tolist())
        rules.push(chosen)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
    assert kinds == {True, False}


def test_the_remaining_windows_keep_their_history_when_others_are_dropped():
    torch.manual_seed(0)
    all_rules = TimestampRules(SPECIAL_TOKENS, 4, torch.device("cpu"))
    for step in range(6):
        scores = torch.randn(4, BEGIN + N_STAMPS)
        all_rules.apply(scores)
        all_rules.push(scores.argmax(dim=-1))
        if step == 3:
            kept = torch.tensor([1, 3])
            whole = torch.randn(4, BEGIN + N_STAMPS)
            part = whole[kept].clone()
            all_rules.apply(whole)
            all_rules.keep(kept)
            all_rules.apply(part)
            torch.testing.assert_close(part, whole[kept])
            return
