"""Tests of word timestamps from cross-attention weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping

from thoth_watch.domain.decoding import GREEDY
from thoth_watch.infrastructure.whisper import (
    AcceleratedWhisperEngine,
    BatchWhisperEngine,
    WhisperEngine,
)
from thoth_watch.infrastructure.whisper.decoding.word_timestamps import (
    AlignmentWeights,
    align_words,
    warp_rows,
)
from thoth_watch.infrastructure.whisper.longform.features import log_mels


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (4, 4), (5, 30), (12, 200), (6, 3)])
def test_the_warping_path_equals_that_of_transformers(shape):
    cost = np.random.default_rng(shape[1]).standard_normal(shape)
    rows, columns = _dynamic_time_warping(cost.astype(np.float32).astype(np.float64))
    first = np.pad(np.diff(rows), (1, 0), constant_values=1).astype(bool)

    assert warp_rows(cost).tolist() == columns[first].tolist()


def test_words_start_where_the_cross_attention_moves_to_them(load):
    loaded = load()._loaded
    tokens = loaded.tokenizer.encode(" ab cd", add_special_tokens=False)
    n_prompt, n = 4, len(tokens)
    weights = torch.full((1, n_prompt + n + 1, 200), 1e-4)
    for index in range(n + 1):  # the attention moves 0.4 s per token
        weights[0, n_prompt - 1 + index, 20 * index : 20 * index + 12] = 1.0
    logits = torch.zeros(n_prompt + n + 1, loaded.special_tokens.timestamp_begin + 1501)

    found = align_words(
        AlignmentWeights(weights, logits),
        tokens,
        prompt_length=n_prompt,
        tokenizer=loaded.tokenizer,
        special_tokens=loaded.special_tokens,
        language="en",
        step_s=0.02,
        duration_s=4.0,
    )

    words = [word for word, _ in found]
    assert [word.word for word in words] == [" ab", " cd"]
    assert sum(length for _, length in found) == n
    second_start_s = 0.4 * found[0][1]
    assert words[1].start == pytest.approx(second_start_s, abs=0.1)
    assert all(word.start <= word.end <= 4.0 for word in words)
    assert all(0 < word.probability < 1 for word in words)


def test_no_tokens_give_no_words(load):
    loaded = load()._loaded
    weights = AlignmentWeights(torch.ones(1, 5, 10), torch.zeros(5, 10))
    options = {
        "tokenizer": loaded.tokenizer,
        "special_tokens": loaded.special_tokens,
        "language": "en",
    }
    assert align_words(weights, [], prompt_length=4, step_s=0.02, duration_s=1, **options) == []


@pytest.fixture
def decoders(load):
    def make(engine_class):
        engine = load(engine_class)
        return engine._loaded, engine._scheduler._transcriber._decoder

    return make


def test_both_networks_have_the_same_alignment_weights(decoders, bursts):
    alignments = []
    for engine_class in (WhisperEngine, AcceleratedWhisperEngine):
        loaded, decoder = decoders(engine_class)
        hidden = decoder.encode(log_mels(loaded.extractor, [bursts(3), bursts(4, 1), bursts(2)]))
        prompt = [
            *loaded.special_tokens.prompt("en", "transcribe"),
            loaded.special_tokens.no_timestamps,
        ]
        alignments.append(
            decoder.align(
                decoder.prefill(hidden),
                [prompt, prompt],
                [[5, 6, 7], [8, 9]],
                [(0, 1), (0, 0)],
                rows=[2, 0],
            )
        )

    for module, packed in zip(*alignments, strict=True):
        torch.testing.assert_close(module.weights, packed.weights, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(module.logits, packed.logits, atol=1e-4, rtol=1e-4)
        sums = module.weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
    assert [alignment.weights.shape[1] for alignment in alignments[0]] == [8, 7]


def test_words_of_a_batch_equal_those_of_single_recordings(load, transcribe, recording, bursts):
    options = type(GREEDY)(temperature=(0.0,), word_timestamps=True)
    recordings = [recording(k, bursts(d, k)) for k, d in enumerate((2, 12.5, 3))]

    batched = transcribe(load(BatchWhisperEngine, decoding=options), recordings)
    single = transcribe(load(WhisperEngine, decoding=options), recordings)

    for key in batched:
        found, expected = batched[key].transcript, single[key].transcript
        words = [word for segment in found.segments for word in segment.words]
        assert words == [word for segment in expected.segments for word in segment.words]
        assert all(0 <= w.start <= w.end <= found.duration_s for w in words)
    assert words
