"""Tests of decoding: tokens equal those of transformers' generate, in batches of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.infrastructure.whisper import (
    AcceleratedWhisperEngine,
    WhisperEngine,
)
from thoth_watch.infrastructure.whisper.decoding.window_decoder import (
    Prefill,
    WindowDecoder,
)
from thoth_watch.infrastructure.whisper.longform.features import count_positions, log_mels
from thoth_watch.infrastructure.whisper.network import packed
from thoth_watch.infrastructure.whisper.network.cuda_graph import StaticStep, is_close
from thoth_watch.infrastructure.whisper.network.linear_layers import Int8Linear
from thoth_watch.infrastructure.whisper.network.packed import _feed_forward
from thoth_watch.infrastructure.whisper.network.silence_warnings import silence_warnings
from thoth_watch.infrastructure.whisper.network.transformers_whisper import TransformersWhisper
from thoth_watch.infrastructure.whisper.network.weight_packing import FeedForward

N_WINDOWS = 4


@pytest.fixture(scope="module")
def windows(bursts):
    return [bursts(duration_s, seed) for seed, duration_s in enumerate((3, 5, 0.05, 1.5))]


@pytest.fixture(scope="module", params=["transformers", "packed"])
def loaded(request, load):
    """Load the checkpoint in float32, with transformers' modules and with packed weights."""
    if request.param == "packed":
        return load(AcceleratedWhisperEngine, precision="float32")._loaded
    return load(WhisperEngine)._loaded


@pytest.fixture(scope="module")
def reference(tiny_whisper):
    with silence_warnings():
        return WhisperForConditionalGeneration.from_pretrained(tiny_whisper, dtype=torch.float32)


def decoder_of(loaded):
    return WindowDecoder(loaded.network, loaded.special_tokens)


def decode(loaded, windows, *, language="en", task="transcribe"):
    decoder = decoder_of(loaded)
    hidden = decoder.encode(log_mels(loaded.extractor, windows))
    prompt = loaded.special_tokens.prompt(language, task)
    return decoder.greedy(decoder.prefill(hidden), [prompt] * len(windows))


def generate_with_transformers(reference, tiny_whisper, window, **options):
    """Return a window's tokens and scores, before the long-form wrapper drops unfinished segments."""
    extractor = WhisperFeatureExtractor.from_pretrained(tiny_whisper)
    features = extractor([window], sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode(), silence_warnings():
        result = reference.generate(
            features,
            return_timestamps=True,
            return_dict_in_generate=True,
            output_scores=True,
            force_unique_generate_call=True,
            **options,
        )
    n_prompt = 3 if options else 1
    tokens = result.sequences[0, n_prompt:].tolist()
    end = reference.generation_config.eos_token_id
    scores = torch.stack([step[0] for step in result.scores])
    return tuple(tokens[: tokens.index(end)] if end in tokens else tokens), scores


def test_features_of_a_batch_equal_those_of_transformers(loaded, windows):
    extractor = loaded.extractor
    one_by_one = torch.cat(
        [extractor(w, sampling_rate=16_000, return_tensors="pt").input_features for w in windows]
    )

    features = log_mels(extractor, windows)

    assert features.shape == (N_WINDOWS, 80, 500)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, one_by_one, atol=2e-6, rtol=0)


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_tokens_equal_those_of_transformers_generate(
    loaded, reference, tiny_whisper, windows, task
):
    for window in windows:
        expected, _ = generate_with_transformers(
            reference, tiny_whisper, window, language="de", task=task
        )

        (decoded,) = decode(loaded, [window], language="de", task=task)

        assert decoded.tokens == expected


def test_the_windows_of_these_tests_have_different_tokens(loaded, windows):
    assert len({decode(loaded, [window])[0].tokens for window in windows}) >= 3


def test_batched_windows_have_the_tokens_of_single_windows(loaded, windows):
    single = [decode(loaded, [window])[0] for window in windows]

    batched = decode(loaded, windows)

    assert [d.tokens for d in batched] == [d.tokens for d in single]
    assert np.allclose([d.avg_logprob for d in batched], [d.avg_logprob for d in single], atol=1e-4)


def test_without_the_cache_the_tokens_are_the_same(load, windows):
    loaded = load(WhisperEngine)._loaded
    network = TransformersWhisper(
        loaded.network.model, device=loaded.network.device, use_cache=False
    )
    uncached = decode(replace(loaded, network=network), windows[:2])

    assert [d.tokens for d in uncached] == [d.tokens for d in decode(loaded, windows[:2])]


def test_the_average_log_probability_is_that_of_the_chosen_tokens(
    loaded, reference, tiny_whisper, windows
):
    (decoded,) = decode(loaded, windows[:1])
    _, scores = generate_with_transformers(
        reference, tiny_whisper, windows[0], language="en", task="transcribe"
    )
    chosen = scores.log_softmax(dim=-1).amax(dim=-1)

    assert decoded.avg_logprob == pytest.approx(
        float(chosen.sum()) / (len(decoded.tokens) + 1), abs=1e-4
    )


def test_language_and_no_speech_probability_are_read_from_the_prefill(loaded, reference, windows):
    decoder = decoder_of(loaded)
    features = log_mels(loaded.extractor, windows)
    prefill = decoder.prefill(decoder.encode(features))

    with torch.inference_mode():
        expected = reference.detect_language(features)
    ids = [loaded.special_tokens.languages[code] for code in prefill.languages]
    assert ids == expected.tolist()
    assert all(0 <= p <= 1 for p in prefill.no_speech_probs)
    assert isinstance(prefill, Prefill)


def test_windows_of_different_languages_share_a_forward_pass(loaded, windows):
    decoder = decoder_of(loaded)
    hidden = decoder.encode(log_mels(loaded.extractor, windows[:2]))
    prompts = [loaded.special_tokens.prompt(code, "transcribe") for code in ("en", "fr")]

    mixed = decoder.greedy(decoder.prefill(hidden), prompts)

    assert mixed[0].tokens == decode(loaded, windows[:1], language="en")[0].tokens
    assert mixed[1].tokens == decode(loaded, windows[1:2], language="fr")[0].tokens


def test_decoding_stops_at_the_decoders_last_position(loaded, windows):
    unlimited = replace(loaded, special_tokens=replace(loaded.special_tokens, max_length=10_000))

    decoded = decode(unlimited, windows)

    assert all(len(d.tokens) <= 32 - 3 for d in decoded)
    assert any(len(d.tokens) > 12 for d in decoded)


def test_an_english_only_model_is_prompted_with_its_start_token_only(tiny_english_whisper, windows):
    engine = WhisperEngine(TranscriptionEngineConfig(model=str(tiny_english_whisper)))
    loaded = engine._loaded
    with silence_warnings():
        reference = WhisperForConditionalGeneration.from_pretrained(
            tiny_english_whisper, dtype=torch.float32
        )

    assert not loaded.special_tokens.is_multilingual
    assert len(loaded.special_tokens.prompt("en", "transcribe")) == 1
    (decoded,) = decode(loaded, windows[:1])
    expected, _ = generate_with_transformers(reference, tiny_english_whisper, windows[0])
    assert decoded.tokens == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_float32_tokens_equal_those_of_the_cpu(load, windows):
    on_gpu = load(precision="float32", device="cuda")._loaded

    on_cpu = load(precision="float32", device="cpu")._loaded
    assert on_gpu.network.device.type == "cuda"
    assert [d.tokens for d in decode(on_gpu, windows)] == [
        d.tokens for d in decode(on_cpu, windows)
    ]


@pytest.mark.parametrize("positions", [None, 64, 128, 192])
def test_trimmed_features_are_the_start_of_the_full_features(loaded, bursts, positions):
    windows = [bursts(0.5, seed=3), bursts(0.7, seed=4)]
    full = loaded.extractor(windows, sampling_rate=16_000, return_tensors="pt").input_features

    features = log_mels(loaded.extractor, windows, positions=positions)

    n_frames = full.shape[2] if positions is None else 2 * positions
    assert features.shape == (2, 80, n_frames)
    torch.testing.assert_close(features, full[:, :, :n_frames], atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.01, 64), (0.78, 64), (0.8, 128), (5.0, 250), (30.0, 250)]
)
def test_a_window_is_encoded_with_half_a_second_of_silence_after_it(seconds, expected):
    assert count_positions(int(seconds * 16_000), limit=250) == expected


def test_a_trimmed_window_is_encoded_at_its_own_length(load, bursts):
    loaded = load(AcceleratedWhisperEngine, precision="float32")._loaded
    decoder = decoder_of(loaded)
    features = log_mels(loaded.extractor, [bursts(0.5)], positions=64)

    hidden = decoder.encode(features)

    assert hidden.shape[1] == 64
    (decoded,) = decoder.greedy(decoder.prefill(hidden), [[loaded.special_tokens.start]])
    assert decoded.tokens


def test_windows_that_share_an_int8_pass_are_encoded_like_single_windows(load, bursts):
    loaded = load(AcceleratedWhisperEngine, precision="int8")._loaded
    features = log_mels(loaded.extractor, [bursts(5), 20 * bursts(3, 1), bursts(4, 2)])

    batched = loaded.network.encode(features)

    for n in range(3):
        single = loaded.network.encode(features[n : n + 1])
        assert torch.equal(batched[n], single[0])


def test_an_int8_layer_computes_the_same_in_one_pass_and_in_chunks(monkeypatch):
    torch.manual_seed(0)
    up, down = (
        Int8Linear(torch.randn(*shape), torch.randn(shape[0])) for shape in ((64, 16), (16, 64))
    )
    norm = (torch.Size([16]), torch.ones(16), torch.zeros(16))
    layer = FeedForward(norm, up, down)
    x = torch.randn(1, 700, 16)

    whole = _feed_forward(x, layer)
    monkeypatch.setattr(packed, "INT8_CHUNK_ROWS", 300)
    chunked = _feed_forward(x, layer)

    assert torch.equal(whole, down(up.gelu(x)))
    assert chunked.shape == whole.shape
    assert torch.equal(chunked[:, 600:], down(up.gelu(x[:, 600:])))


def test_a_static_step_computes_the_logits_of_a_plain_step(load, windows):
    loaded = load(precision="float32")._loaded
    model, features = loaded.network, log_mels(loaded.extractor, windows[:3])
    caches = [model.build_cache(model.encode(features), max_tokens=20) for _ in range(2)]
    plain, static = caches
    for cache in caches:
        cache.self_attention[0][0].fill_(torch.nan)  # unwritten entries must not be read
        model.plain_step(torch.tensor([[5, 6]] * 3), cache)
    step = StaticStep(model, static)

    for at in range(2, 20):
        tokens = torch.tensor([[at], [2 * at], [7]])
        step.load(tokens, position=at)
        torch.testing.assert_close(
            step.compute(), model.plain_step(tokens, plain), atol=1e-4, rtol=1e-4
        )


def test_a_cuda_graph_is_accepted_only_if_its_logits_are_close():
    logits = torch.tensor([[10.0, -3.0]])

    assert is_close(logits + 0.1, logits)
    assert not is_close(logits + 0.3, logits)
    assert not is_close(logits * torch.nan, logits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_on_a_gpu_captured_steps_compute_the_logits_of_plain_steps(load, windows, precision):
    loaded = load(precision=precision, device="cuda")._loaded
    model, features = loaded.network, log_mels(loaded.extractor, windows[:3])
    plain, captured = (model.build_cache(model.encode(features), max_tokens=20) for _ in range(2))
    for at in range(20):
        tokens = torch.tensor([[at], [2 * at], [7]], device="cuda")

        logits = model.step(tokens, captured)

        assert is_close(logits, model.plain_step(tokens, plain))
    assert captured.captured is not None
