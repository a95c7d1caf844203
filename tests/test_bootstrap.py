"""The engine that is built, its fallback, and the devices that get one."""

from __future__ import annotations

import logging
import os
import weakref
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.infrastructure.whisper.conftest import make_whisper
from thoth_watch.bootstrap import BUILTIN_MODEL, Engines, build_engine, build_settings
from thoth_watch.bootstrap.devices import devices_of, engine_processes
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.errors import EngineUnavailable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_whisper(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def requested(model: str) -> TranscriptionEngineConfig:
    return TranscriptionEngineConfig(engine_type="batch", model=model, device="cuda:7")


def test_the_standard_engine_is_the_recorded_fallback(requested: TranscriptionEngineConfig):
    engine = build_engine(requested)

    assert (engine.placement.engine, engine.placement.device) == ("standard", "cpu")
    (fallback,) = engine.fallbacks
    assert fallback.requested == "batch on cuda:7 in auto"
    assert "cuda:7" in fallback.reason


@pytest.mark.parametrize("change", [{"fallback": "never"}, {"device_is_binding": True}])
def test_there_is_no_fallback_if_it_is_disabled(
    requested: TranscriptionEngineConfig, change: dict[str, object]
):
    with pytest.raises(EngineUnavailable, match="cuda:7"):
        build_engine(replace(requested, **change))


def test_there_is_no_fallback_for_a_missing_model(tmp_path: Path):
    requested = TranscriptionEngineConfig(model=str(tmp_path / "nothing"), fallback="warn")

    with pytest.raises(EngineUnavailable, match="nothing"):
        build_engine(requested)


def test_the_pinned_revision_and_hash_do_not_apply_to_a_rules_model(model: str):
    requested = TranscriptionEngineConfig(revision="v1", weights_sha256="0" * 64, device="cpu")
    engines = Engines(requested)

    assert engines.engine(model).placement.model == model


def test_one_engine_is_kept_and_its_loading_time_counted_once(
    requested: TranscriptionEngineConfig, model: str
):
    engines = Engines(replace(requested, device="cpu"))
    engine = engines.engine(model)

    assert engines.engine(model) is engine
    assert engines.pop_load_s(engine) > 0
    assert engines.pop_load_s(engine) == 0


def test_another_configuration_keeps_the_engine_unless_it_requests_another(model: str):
    requested = TranscriptionEngineConfig(model=model, device="cpu")
    engines = Engines(requested)
    engine = engines.engine(model)

    engines.reconfigure(replace(requested))
    assert engines.engine(model) is engine
    engines.reconfigure(replace(requested, batch_size=3))
    assert engines.engine(model).placement.batch_size == 3


def test_an_unloaded_engine_is_gone_from_memory_and_reloads_when_requested(
    caplog: pytest.LogCaptureFixture,
):
    requested = TranscriptionEngineConfig(engine_type="batch", device="cpu", precision="float32")
    engines, process = Engines(requested), psutil.Process()
    with caplog.at_level(logging.INFO, "thoth_watch.bootstrap.engines"):
        engines.engine("builtin")
        engines.unload()  # libraries stay in memory from here on
        loaded = weakref.ref(engines.engine("builtin"))
        full_bytes = process.memory_info().rss
        engines.unload()
        engines.unload()

    assert loaded() is None
    weights = (BUILTIN_MODEL / "model.safetensors").stat().st_size
    assert full_bytes - process.memory_info().rss > weights / 2
    events = [record.event for record in caplog.records]  # type: ignore[attr-defined]
    assert events == ["engine_loaded", "engine_unloaded"] * 2
    assert engines.pop_load_s(engines.engine("builtin")) > 0


def test_one_device_needs_no_process_and_a_flags_device_overrides_the_list(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("engine: {devices: [cuda:0, cuda:1]}")

    several = build_settings(config, {}, required=True)
    flagged = build_settings(config, {"engine.device": "cpu"}, required=True)

    assert devices_of(several) == ("cuda:0", "cuda:1")
    assert devices_of(flagged) == ("cpu",)
    assert devices_of(build_settings(None, {}, required=False)) == ("auto",)


def test_several_engines_are_refused_in_each_of_several_launched_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "config.yaml"
    config.write_text("engine: {devices: cpu x 2}")
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(EngineUnavailable, match="start thoth-watch once, without the launcher"):
        devices_of(build_settings(config, {}, required=True))


def test_engines_on_one_device_share_the_cores_and_have_different_names(
    tmp_path: Path,
):
    config = tmp_path / "config.yaml"
    config.write_text("engine: {devices: cpu x 2}")
    settings = build_settings(config, {}, required=True)
    processes = engine_processes(settings, devices_of(settings))

    assert [name for name, _ in processes] == ["cpu (1 of 2)", "cpu (2 of 2)"]
    assert {args[2] for _, args in processes} == {max(1, len(os.sched_getaffinity(0)) // 2)}
