"""Tests of loading: models are found and checked; invalid ones are refused with a short reason."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration

from thoth_watch.domain.decoding import GREEDY
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.errors import EXIT_UNAVAILABLE, EngineUnavailable
from thoth_watch.infrastructure.whisper import (
    AcceleratedWhisperEngine,
    ModelUnavailable,
    WhisperEngine,
    placement,
)
from thoth_watch.infrastructure.whisper.loading.checkpoint import find_checkpoint, hash_weights
from thoth_watch.infrastructure.whisper.network import linear_layers
from thoth_watch.infrastructure.whisper.network.linear_layers import Int8Linear
from thoth_watch.infrastructure.whisper.network.packed import PackedWhisper


@pytest.fixture
def copy(tiny_whisper, tmp_path):
    return shutil.copytree(tiny_whisper, tmp_path / "copy")


def load(folder, engine_class=WhisperEngine, **settings):
    return engine_class(TranscriptionEngineConfig(model=str(folder), **settings))


def refusal(folder, **settings):
    with pytest.raises(ModelUnavailable) as caught:
        load(folder, **settings)
    text = str(caught.value)
    assert caught.value.exit_code == EXIT_UNAVAILABLE
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_device_info_is_read_from_the_loaded_weights(load, tiny_whisper):
    info = load(precision="bf16+int8").get_device_info()

    assert info["device"] == "cpu"
    assert info["precision"] == "bfloat16+int8"
    assert info["encoder_dtype"] == "bfloat16"
    assert info["mixed_precision"] == "bf16"
    assert info["num_processes"] == 1
    assert info["is_main_process"] is True
    assert info["engine"] == "accelerated"
    assert info["model"] == "builtin"
    assert info["model_revision"] == f"sha256:{hash_weights(tiny_whisper)}"
    assert info["versions"]["torch"] == torch.__version__
    assert {"batch_size", "use_cache", "dtype", "device_name", "versions"} <= set(info)


def test_the_reported_precision_follows_the_weights_and_not_the_request(load):
    standard = load(WhisperEngine, fresh=True)
    standard._loaded.network.model.get_encoder().to(torch.bfloat16)
    packed = load(fresh=True, precision="float32")
    attention, _ = packed._loaded.network._encoder_layers[0]
    attention.qkv = Int8Linear(torch.zeros(3, 3), None)

    assert standard._loaded.network.encoder_precision == "bfloat16"
    assert packed._loaded.network.encoder_precision == "int8"


def test_int8_applies_to_the_linear_layers_of_the_named_half(load):
    model = load(precision="fp32+int8")._loaded.network

    attention, feed_forward = model._encoder_layers[0]
    assert {attention.qkv.precision, feed_forward.down.precision} == {"float32"}
    attention, cross, feed_forward = model._decoder_layers[0]
    layers = [attention.out, cross.query, feed_forward.up, model._head]
    assert all(isinstance(layer, Int8Linear) for layer in layers)


def test_packing_leaves_no_second_copy_of_the_weights(tiny_whisper):
    whole = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)

    PackedWhisper(whole, encoder="bfloat16", decoder="int8")

    assert sum(p.numel() for p in whole.parameters()) == 0


def test_a_half_precision_file_is_loaded_as_float32_by_the_standard_engine(copy):
    half = {k: v.half() for k, v in load_file(copy / "model.safetensors").items()}
    save_file(half, copy / "model.safetensors", metadata={"format": "pt"})

    assert load(copy).placement.precision == "float32"


def test_a_missing_tensor_is_an_error_that_names_it(copy):
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.decoder.layers.0.fc1.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    assert "lacks 1 tensors: model.decoder.layers.0.fc1.weight" in refusal(copy)


def test_a_tensor_of_the_wrong_shape_is_an_error_that_names_it(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["model.encoder.conv1.bias"] = torch.zeros(3)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    assert "wrong shape for 1 tensors: model.encoder.conv1.bias" in refusal(copy)


def test_a_truncated_weight_file_is_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])

    assert "cannot be loaded" in refusal(copy)


def test_only_the_pinned_weights_are_loaded(copy):
    weights = copy / "model.safetensors"
    file_sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    for pinned in (hash_weights(copy), file_sha256):
        assert load(copy, weights_sha256=pinned).placement.precision == "float32"

    tensors = load_file(weights)
    tensors["model.encoder.conv1.bias"] += 1
    save_file(tensors, weights, metadata={"format": "pt"})
    for pinned in (file_sha256, "0" * 64):
        text = refusal(copy, weights_sha256=pinned)
        assert "not those of engine.weights_sha256" in text
        assert hash_weights(copy) in text


def test_pickled_weights_are_refused_with_the_fix(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    assert "convert them to safetensors" in refusal(copy)


def test_a_model_of_another_kind_is_refused(copy):
    config = json.loads((copy / "config.json").read_text()) | {"model_type": "bert"}
    (copy / "config.json").write_text(json.dumps(config))

    assert "it is a bert model, not a Whisper" in refusal(copy)


def test_code_that_a_model_ships_is_never_run(copy, tmp_path):
    trap = tmp_path / "ran"
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(trap)!r}, 'w')")

    refusal(copy)
    assert not trap.exists()


def test_a_missing_folder_is_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "no config.json" in refusal(tmp_path)


def test_an_unknown_model_is_refused_with_alternatives():
    text = refusal("example/whisper-none-such")

    assert "example/whisper-none-such" in text
    assert "openai/whisper-small" in text


def test_a_missing_builtin_model_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="model builtin"):
        WhisperEngine(builtin=tmp_path)


def test_a_feature_extractor_that_does_not_match_the_weights_is_refused(copy):
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"feature_size": 128}))

    assert "makes 128 mels, its weights need 80" in refusal(copy)


def test_the_revision_of_a_hub_model_is_its_commit(tiny_whisper, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--whisper-own"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_whisper, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    assert load("someone/whisper-own").placement.model_revision == commit
    assert load("someone/whisper-own", revision="main").placement.model_revision == commit
    assert "at revision v9" in refusal("someone/whisper-own", revision="v9")
    pinned = refusal("someone/whisper-own", weights_sha256="0" * 64)
    assert "not those of engine.weights_sha256" in pinned


def test_a_cached_model_is_loaded_without_contacting_the_hub(tiny_whisper, tmp_path, monkeypatch):
    snapshots = tmp_path / "models--someone--whisper-own" / "snapshots"
    shutil.copytree(tiny_whisper, snapshots / "0123")
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = find_checkpoint("someone/whisper-own", revision=None, builtin=None)

    assert found.source == str(snapshots / "0123")
    assert found.commit == "0123"

    (snapshots / "0123" / "preprocessor_config.json").unlink()  # an interrupted download
    incomplete = find_checkpoint("someone/whisper-own", revision=None, builtin=None)
    assert incomplete.source == "someone/whisper-own"


def test_short_names_are_expanded_to_hub_models(monkeypatch):
    requested = []

    def fail(model, *_, **__):
        requested.append(model)
        raise OSError("offline")

    monkeypatch.setattr("thoth_watch.infrastructure.whisper.loading.checkpoint.cached_file", fail)
    for name in ("tiny.en", "turbo", "large", "distil-large-v3"):
        with pytest.raises(ModelUnavailable, match="offline"):
            find_checkpoint(name, revision=None, builtin=None)

    assert list(dict.fromkeys(requested)) == [  # each is looked up in the cache, then at the hub
        "openai/whisper-tiny.en",
        "openai/whisper-large-v3-turbo",
        "openai/whisper-large-v3",
        "distil-whisper/distil-large-v3",
    ]


def test_the_weights_decide_the_revision_and_the_fingerprint(copy, load):
    before = hash_weights(copy)
    tensors = load_file(copy / "model.safetensors")
    tensors["model.encoder.conv1.bias"] += 1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    assert hash_weights(copy) != before
    changed = AcceleratedWhisperEngine(TranscriptionEngineConfig(model=str(copy)))
    assert changed.fingerprint != load().fingerprint


def test_the_fingerprint_covers_engine_and_precision_but_not_speed_settings(load):
    fingerprints = [
        load().fingerprint,
        load(WhisperEngine).fingerprint,
        load(precision="bf16").fingerprint,
        load(precision="int8").fingerprint,
    ]

    assert len(set(fingerprints)) == 4
    slower = load(precision="float32", use_cache=False, batch_size=3)
    assert slower.fingerprint == load(precision="float32").fingerprint
    trimming = load(precision="float32", audio_context="trim")
    assert trimming.fingerprint != slower.fingerprint


def test_a_model_larger_than_memory_is_offloaded_with_the_same_result(
    tiny_whisper, load, transcribe, recording, bursts
):
    config = TranscriptionEngineConfig(precision="float32", decoding=GREEDY)
    offloaded = AcceleratedWhisperEngine(config, builtin=tiny_whisper, max_memory={"cpu": 800_000})

    places = set(offloaded.get_device_info()["device_map"].values())
    assert places == {"cpu", "disk"}
    whole = load(precision="float32")
    assert whole.get_device_info()["device_map"] is None
    recordings = [recording(0, bursts(4))]
    found, expected = (
        transcribe(engine, recordings)[0].transcript for engine in (offloaded, whole)
    )
    assert found.n_tokens > 0
    assert [s.tokens for s in found.segments] == [s.tokens for s in expected.segments]


def test_an_emulated_precision_is_used_if_requested_and_logged(
    load, transcribe, recording, bursts, monkeypatch
):
    monkeypatch.setattr(linear_layers, "can_pack", lambda precision: precision == "float32")
    monkeypatch.setattr(placement, "has_native_bfloat16", lambda: False)
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("thoth_watch.infrastructure.whisper.engines")
    logger.addHandler(handler)
    try:
        engine = load(precision="bf16+int8", fresh=True)
    finally:
        logger.removeHandler(handler)

    assert [line.event for line in records] == ["precision_emulated"]
    assert engine.get_device_info()["encoder_precision"] == "bfloat16"
    assert transcribe(engine, [recording(0, bursts(4))])[0].transcript.n_tokens > 0


def test_a_model_can_be_offloaded_to_disk_entirely(tiny_whisper):
    config = TranscriptionEngineConfig(precision="float32")
    offloaded = AcceleratedWhisperEngine(config, builtin=tiny_whisper, max_memory={"cpu": 400_000})

    assert set(offloaded.get_device_info()["device_map"].values()) == {"disk"}


def test_with_auto_precision_an_offloaded_model_uses_one_precision(tiny_whisper):
    offloaded = AcceleratedWhisperEngine(
        TranscriptionEngineConfig(audio_context="trim"),
        builtin=tiny_whisper,
        max_memory={"cpu": 400_000},
    )

    info = offloaded.get_device_info()
    assert info["device_map"] is not None
    assert info["encoder_precision"] == info["decoder_precision"]
    assert info["audio_context"] == "full"


def test_an_offloaded_model_rejects_two_precisions(tiny_whisper):
    with pytest.raises(EngineUnavailable, match="a single float precision"):
        AcceleratedWhisperEngine(
            TranscriptionEngineConfig(precision="bf16+int8"),
            builtin=tiny_whisper,
            max_memory={"cpu": 400_000},
        )


def test_running_out_of_memory_while_loading_is_not_a_model_error(tiny_whisper, monkeypatch):
    def run_out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(WhisperForConditionalGeneration, "from_pretrained", run_out_of_memory)

    with pytest.raises(EngineUnavailable, match="not enough memory") as caught:
        load(tiny_whisper)
    assert not isinstance(caught.value, ModelUnavailable)


def test_loading_prints_nothing(tiny_whisper, capfd):
    load(tiny_whisper)

    assert capfd.readouterr() == ("", "")


def test_the_models_chunk_length_is_used_unless_an_option_overrides_it(copy):
    default = load(copy)
    config = copy / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chunk_length": 2.5}))
    from_model = load(copy)
    from_option = load(copy, decoding=replace(GREEDY, chunk_length=4))

    engines = (default, from_model, from_option)
    assert [engine._scheduler._transcriber.window_samples for engine in engines] == [
        80_000,  # the feature extractor's 5 s, the longest possible window
        40_000,
        64_000,
    ]
    assert default.fingerprint != from_model.fingerprint


def test_a_model_can_declare_that_it_does_not_support_previous_text(copy):
    assert load(copy)._loaded.special_tokens.supports_previous_text
    config = copy / "generation_config.json"
    changed = json.loads(config.read_text()) | {"condition_on_prev_tokens": False}
    config.write_text(json.dumps(changed))
    assert not load(copy)._loaded.special_tokens.supports_previous_text


def test_chunk_length_must_be_between_1_and_30_seconds():
    for seconds in (0.5, 31):
        with pytest.raises(ValueError, match="use 1 to 30 seconds"):
            replace(GREEDY, chunk_length=seconds)
