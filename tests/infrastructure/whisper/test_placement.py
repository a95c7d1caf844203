"""Tests of the choice of device and precision, and of the process facts read from accelerate."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.whisper import placement

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")


def choose(requested, *, device=CPU, engine_type="accelerated", enable_mixed=True, packed=True):
    return placement.choose_precision(
        requested, enable_mixed=enable_mixed, engine_type=engine_type, device=device, packed=packed
    )


@pytest.mark.parametrize(
    ("requested", "used"),
    [
        ("fp32", ("float32", "float32")),
        ("no", ("float32", "float32")),
        ("bf16", ("bfloat16", "bfloat16")),
        ("int8", ("int8", "int8")),
        ("bf16+int8", ("bfloat16", "int8")),
        ("fp32+int8", ("float32", "int8")),
    ],
)
def test_a_precision_on_the_cpu_is_used_as_requested(requested, used):
    assert choose(requested) == used


@pytest.mark.parametrize(("is_native", "used"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_the_cpu_uses_bfloat16_if_the_processor_supports_it(monkeypatch, is_native, used):
    monkeypatch.setattr(placement, "has_native_bfloat16", lambda: is_native)

    assert choose("auto") == (used, "int8")
    assert choose("auto", packed=False) == (used, used)


def test_without_the_kv_cache_int8_and_mixed_precisions_are_refused():
    for requested in ("bf16+int8", "int8"):
        with pytest.raises(EngineUnavailable, match=r"set engine\.use_cache: true"):
            choose(requested, packed=False)


def test_float16_on_the_cpu_is_an_error_that_names_the_fix():
    with pytest.raises(
        EngineUnavailable, match=r"float16 needs a GPU; set engine\.precision: float32"
    ):
        choose("fp16")


def test_int8_on_a_gpu_is_an_error_that_names_the_fix():
    with pytest.raises(
        EngineUnavailable, match=r"int8 is supported only on the CPU.*engine\.precision: auto"
    ):
        choose("int8", device=CUDA)


@pytest.mark.parametrize(("has_bfloat16", "used"), [(True, "bfloat16"), (False, "float16")])
def test_auto_on_a_gpu_uses_bfloat16_if_supported_and_float16_otherwise(
    monkeypatch, has_bfloat16, used
):
    monkeypatch.setattr(placement, "is_bf16_available", lambda: has_bfloat16)

    assert choose("auto", device=CUDA) == (used, used)


def test_bfloat16_on_a_gpu_without_support_is_an_error(monkeypatch):
    monkeypatch.setattr(placement, "is_bf16_available", lambda: False)

    with pytest.raises(EngineUnavailable, match="no bfloat16"):
        choose("bf16", device=CUDA)


def test_disabled_mixed_precision_means_float32():
    assert choose("bf16", enable_mixed=False) == ("float32", "float32")


@pytest.mark.parametrize("requested", ["auto", "float32"])
def test_the_standard_engine_uses_float32(requested):
    assert choose(requested, engine_type="standard", device=CUDA) == ("float32", "float32")


def test_the_standard_engine_refuses_another_precision():
    with pytest.raises(EngineUnavailable, match=r"engine\.engine_type: accelerated"):
        choose("bf16", engine_type="standard")


@pytest.mark.parametrize("requested", ["cuda:31", "mps:0", "xpu"])
def test_a_missing_device_is_an_error_that_lists_the_available_ones(requested):
    with pytest.raises(EngineUnavailable, match=r"this machine has cpu.*set engine\.device: auto"):
        placement.choose_device(requested)


def test_an_unknown_kind_of_device_is_an_error():
    with pytest.raises(EngineUnavailable, match="'toaster': no such kind of device"):
        placement.choose_device("toaster")


def test_auto_uses_the_device_that_accelerate_chose(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    assert placement.choose_device("auto") == CPU
    assert PartialState().device == CPU


def test_process_facts_equal_accelerates_state():
    facts = placement.read_process_facts(cpu=True, mixed_precision="bf16")

    assert facts.mixed_precision == AcceleratorState().mixed_precision == "bf16"
    assert facts.num_processes == PartialState().num_processes == 1
    assert facts.is_main_process is PartialState().is_main_process


def test_two_engines_of_different_precision_can_share_a_process():
    names = [
        placement.read_process_facts(cpu=True, mixed_precision=name).mixed_precision
        for name in ("no", "bf16", "no")
    ]

    assert names == ["no", "bf16", "no"]


def test_the_facts_of_another_rank_come_from_accelerate(monkeypatch):
    class SecondOfTwo(Accelerator):
        num_processes = 2
        is_main_process = False

    monkeypatch.setattr(placement, "Accelerator", SecondOfTwo)

    facts = placement.read_process_facts(cpu=True)

    assert (facts.num_processes, facts.is_main_process) == (2, False)


def test_launched_processes_without_a_process_group_are_refused(monkeypatch):
    class SingleProcess(Accelerator):
        num_processes = 1

        def __init__(self, **_):
            self.state = None

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(placement, "Accelerator", SingleProcess)

    with pytest.raises(EngineUnavailable, match="2 processes, but accelerate sees only one"):
        placement.read_process_facts(cpu=True)


@pytest.mark.parametrize(
    ("encoder", "decoder", "name", "text"),
    [
        ("float32", "float32", "no", "float32"),
        ("float16", "float16", "fp16", "float16"),
        ("bfloat16", "int8", "bf16", "bfloat16+int8"),
        ("int8", "int8", "no", "int8"),
    ],
)
def test_precision_is_formatted_and_mapped_to_accelerates_names(encoder, decoder, name, text):
    assert placement.mixed_precision_name(encoder, decoder) == name
    assert placement.format_precision(encoder, decoder) == text


def test_the_processor_has_a_name():
    assert placement.device_name(CPU)
