"""Models are found, checked and read back; what cannot be trusted is refused with a short reason."""

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
    AcceleratedWhisperTranscriptionEngine,
    ModelUnavailable,
    WhisperTranscriptionEngine,
    linear_layers,
    placement,
)
from thoth_watch.infrastructure.whisper.checkpoint import find_checkpoint, hash_weights
from thoth_watch.infrastructure.whisper.linear_layers import Int8Linear
from thoth_watch.infrastructure.whisper.packed import PackedWhisper


@pytest.fixture
def copy(tiny_whisper, tmp_path):
    return shutil.copytree(tiny_whisper, tmp_path / "copy")


def load(folder, engine_class=WhisperTranscriptionEngine, **asked):
    return engine_class(TranscriptionEngineConfig(model=str(folder), **asked))


def refusal(folder, **asked):
    with pytest.raises(ModelUnavailable) as caught:
        load(folder, **asked)
    text = str(caught.value)
    assert caught.value.exit_code == EXIT_UNAVAILABLE
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_what_was_got_is_read_from_the_weights(load, tiny_whisper):
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


def test_the_read_back_follows_the_weights_and_not_the_request(load):
    standard = load(WhisperTranscriptionEngine, fresh=True)
    standard._loaded.model.get_encoder().to(torch.bfloat16)
    packed = load(fresh=True, precision="float32")
    attention, _ = packed._loaded.model._encoder_layers[0]
    attention.qkv = Int8Linear(torch.zeros(3, 3), None)

    assert standard._loaded.encoder_precision == "bfloat16"
    assert packed._loaded.encoder_precision == "int8"


def test_int8_is_for_the_linear_layers_of_the_part_that_was_named(load):
    model = load(precision="fp32+int8")._loaded.model

    attention, feed_forward = model._encoder_layers[0]
    assert {attention.qkv.precision, feed_forward.down.precision} == {"float32"}
    attention, cross, feed_forward = model._decoder_layers[0]
    layers = [attention.out, cross.query, feed_forward.up, model._head]
    assert all(isinstance(layer, Int8Linear) for layer in layers)


def test_weights_are_held_once(tiny_whisper):
    whole = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)

    PackedWhisper(whole, encoder="bfloat16", decoder="int8")

    assert sum(p.numel() for p in whole.parameters()) == 0


def test_a_half_precision_file_is_loaded_as_float32_where_that_was_asked(copy):
    half = {k: v.half() for k, v in load_file(copy / "model.safetensors").items()}
    save_file(half, copy / "model.safetensors", metadata={"format": "pt"})

    assert load(copy).placement.precision == "float32"


def test_a_missing_tensor_is_refused_by_name(copy):
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.decoder.layers.0.fc1.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    assert "lacks 1 tensors: model.decoder.layers.0.fc1.weight" in refusal(copy)


def test_a_tensor_of_the_wrong_shape_is_refused_by_name(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["model.encoder.conv1.bias"] = torch.zeros(3)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    assert "wrong shape for 1 tensors: model.encoder.conv1.bias" in refusal(copy)


def test_a_truncated_weight_file_is_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])

    assert "cannot be loaded" in refusal(copy)


def test_pinned_weights_are_loaded_and_no_others(copy):
    weights = copy / "model.safetensors"
    of_the_file = hashlib.sha256(weights.read_bytes()).hexdigest()
    for pinned in (hash_weights(copy), of_the_file):
        assert load(copy, weights_sha256=pinned).placement.precision == "float32"

    tensors = load_file(weights)
    tensors["model.encoder.conv1.bias"] += 1
    save_file(tensors, weights, metadata={"format": "pt"})
    for pinned in (of_the_file, "0" * 64):
        text = refusal(copy, weights_sha256=pinned)
        assert "not those of engine.weights_sha256" in text
        assert hash_weights(copy) in text


def test_pickled_weights_are_refused_with_the_way_out(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    assert "convert them to safetensors" in refusal(copy)


def test_a_model_of_another_kind_is_refused(copy):
    config = json.loads((copy / "config.json").read_text()) | {"model_type": "bert"}
    (copy / "config.json").write_text(json.dumps(config))

    assert "it is a bert model, not a Whisper" in refusal(copy)


def test_a_model_with_code_of_its_own_is_never_run_and_never_asks(copy, tmp_path):
    trap = tmp_path / "ran"
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(trap)!r}, 'w')")

    refusal(copy)
    assert not trap.exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "no config.json" in refusal(tmp_path)


def test_an_unknown_model_is_refused_with_what_can_be_set_instead():
    text = refusal("nobody/whisper-none-such")

    assert "nobody/whisper-none-such" in text
    assert "openai/whisper-small" in text


def test_a_missing_builtin_model_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="model builtin"):
        WhisperTranscriptionEngine(builtin=tmp_path)


def test_features_that_do_not_fit_the_weights_are_refused(copy):
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"feature_size": 128}))

    assert "makes 128 mels, its weights need 80" in refusal(copy)


def test_a_hub_model_has_its_commit_as_revision(tiny_whisper, tmp_path, monkeypatch):
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


def test_a_model_that_is_here_is_loaded_without_a_word_to_the_hub(
    tiny_whisper, tmp_path, monkeypatch
):
    snapshots = tmp_path / "models--someone--whisper-own" / "snapshots"
    shutil.copytree(tiny_whisper, snapshots / "0123")
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = find_checkpoint("someone/whisper-own", revision=None, builtin=None)

    assert found.source == str(snapshots / "0123")
    assert found.commit == "0123"

    (snapshots / "0123" / "preprocessor_config.json").unlink()  # a download that was broken off
    asked = find_checkpoint("someone/whisper-own", revision=None, builtin=None)
    assert asked.source == "someone/whisper-own"


def test_short_names_stand_for_hub_models(monkeypatch):
    asked = []

    def nowhere(model, *_, **__):
        asked.append(model)
        raise OSError("offline")

    monkeypatch.setattr("thoth_watch.infrastructure.whisper.checkpoint.cached_file", nowhere)
    for name in ("tiny.en", "turbo", "large", "distil-large-v3"):
        with pytest.raises(ModelUnavailable, match="offline"):
            find_checkpoint(name, revision=None, builtin=None)

    assert list(dict.fromkeys(asked)) == [  # in the cache first, then at the hub
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
    other = AcceleratedWhisperTranscriptionEngine(TranscriptionEngineConfig(model=str(copy)))
    assert other.fingerprint != load().fingerprint


def test_engine_and_precision_are_in_the_fingerprint_but_speed_is_not(load):
    fingerprints = [
        load().fingerprint,
        load(WhisperTranscriptionEngine).fingerprint,
        load(precision="bf16").fingerprint,
        load(precision="int8").fingerprint,
    ]

    assert len(set(fingerprints)) == 4
    slower = load(precision="float32", use_cache=False, batch_size=3)
    assert slower.fingerprint == load(precision="float32").fingerprint
    trimming = load(precision="float32", audio_context="trim")
    assert trimming.fingerprint != slower.fingerprint


def test_a_model_larger_than_memory_is_spread_by_accelerate_and_says_the_same(
    tiny_whisper, load, transcribe, recording, bursts
):
    asked = TranscriptionEngineConfig(precision="float32", decoding=GREEDY)
    spread = AcceleratedWhisperTranscriptionEngine(
        asked, builtin=tiny_whisper, max_memory={"cpu": 800_000}
    )

    places = set(spread.get_device_info()["device_map"].values())
    assert places == {"cpu", "disk"}
    whole = load(precision="float32")
    assert whole.get_device_info()["device_map"] is None
    sound = [recording(0, bursts(4))]
    one, other = (transcribe(engine, sound)[0].transcript for engine in (spread, whole))
    assert one.n_tokens > 0
    assert [s.tokens for s in one.segments] == [s.tokens for s in other.segments]


def test_a_format_that_the_processor_emulates_is_taken_where_it_is_asked_for_and_said(
    load, transcribe, recording, bursts, monkeypatch
):
    monkeypatch.setattr(linear_layers, "can_pack", lambda precision: precision == "float32")
    monkeypatch.setattr(placement, "has_native_bfloat16", lambda: False)
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append
    logger = logging.getLogger("thoth_watch.infrastructure.whisper.engines")
    logger.addHandler(handler)
    try:
        engine = load(precision="bf16+int8", fresh=True)
    finally:
        logger.removeHandler(handler)

    assert [line.event for line in said] == ["precision_emulated"]
    assert engine.get_device_info()["encoder_precision"] == "bfloat16"
    assert transcribe(engine, [recording(0, bursts(4))])[0].transcript.n_tokens > 0


def test_a_model_that_lies_on_the_disk_whole_is_spread_too(tiny_whisper):
    asked = TranscriptionEngineConfig(precision="float32")
    spread = AcceleratedWhisperTranscriptionEngine(
        asked, builtin=tiny_whisper, max_memory={"cpu": 400_000}
    )

    assert set(spread.get_device_info()["device_map"].values()) == {"disk"}


def test_a_spread_model_takes_one_format_where_it_is_free_to_choose(tiny_whisper):
    spread = AcceleratedWhisperTranscriptionEngine(
        TranscriptionEngineConfig(audio_context="trim"),
        builtin=tiny_whisper,
        max_memory={"cpu": 400_000},
    )

    info = spread.get_device_info()
    assert info["device_map"] is not None
    assert info["encoder_precision"] == info["decoder_precision"]
    assert info["audio_context"] == "full"


def test_a_spread_model_has_one_number_format(tiny_whisper):
    with pytest.raises(EngineUnavailable, match="one float format"):
        AcceleratedWhisperTranscriptionEngine(
            TranscriptionEngineConfig(precision="bf16+int8"),
            builtin=tiny_whisper,
            max_memory={"cpu": 400_000},
        )


def test_memory_that_runs_out_while_loading_is_no_fault_of_the_model(tiny_whisper, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(WhisperForConditionalGeneration, "from_pretrained", full)

    with pytest.raises(EngineUnavailable, match="not enough memory") as caught:
        load(tiny_whisper)
    assert not isinstance(caught.value, ModelUnavailable)


def test_loading_writes_nothing_on_the_screen(tiny_whisper, capfd):
    load(tiny_whisper)

    assert capfd.readouterr() == ("", "")


def test_a_model_says_how_long_its_windows_should_be_and_an_option_overrides_it(copy):
    whole = load(copy)
    config = copy / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chunk_length": 2.5}))
    said = load(copy)
    asked = load(copy, decoding=replace(GREEDY, chunk_length=4))

    assert [engine._scheduler._transcriber.window_samples for engine in (whole, said, asked)] == [
        80_000,  # its features' own: no window is longer
        40_000,
        64_000,
    ]
    assert whole.fingerprint != said.fingerprint


def test_a_model_says_that_it_has_not_learnt_to_be_told_the_words_before(copy):
    assert load(copy)._loaded.special_tokens.follows
    config = copy / "generation_config.json"
    said = json.loads(config.read_text()) | {"condition_on_prev_tokens": False}
    config.write_text(json.dumps(said))
    assert not load(copy)._loaded.special_tokens.follows


def test_a_window_has_a_second_at_least_and_thirty_at_most():
    for seconds in (0.5, 31):
        with pytest.raises(ValueError, match="use 1 to 30 seconds"):
            replace(GREEDY, chunk_length=seconds)
