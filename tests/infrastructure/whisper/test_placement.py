"""Devices, number formats and process facts are chosen and read, not assumed."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState

from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.whisper import placement

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")


def choose(asked, *, device=CPU, engine_type="accelerated", enable_mixed=True, packed=True):
    return placement.choose_precision(
        asked, enable_mixed=enable_mixed, engine_type=engine_type, device=device, packed=packed
    )


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("fp32", ("float32", "float32")),
        ("no", ("float32", "float32")),
        ("bf16", ("bfloat16", "bfloat16")),
        ("int8", ("int8", "int8")),
        ("bf16+int8", ("bfloat16", "int8")),
        ("fp32+int8", ("float32", "int8")),
    ],
)
def test_a_precision_on_the_cpu_is_honoured(asked, got):
    assert choose(asked) == got


@pytest.mark.parametrize(("is_native", "got"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_the_cpu_takes_bfloat16_where_the_processor_has_it(monkeypatch, is_native, got):
    monkeypatch.setattr(placement, "has_native_bfloat16", lambda: is_native)

    assert choose("auto") == (got, "int8")
    assert choose("auto", packed=False) == (got, got)


def test_without_the_cache_there_is_one_float_format():
    for asked in ("bf16+int8", "int8"):
        with pytest.raises(EngineUnavailable, match=r"set engine\.use_cache: true"):
            choose(asked, packed=False)


def test_float16_on_the_cpu_is_an_error_that_names_the_way_out():
    with pytest.raises(
        EngineUnavailable, match=r"float16 needs a GPU; set engine\.precision: float32"
    ):
        choose("fp16")


def test_int8_on_a_gpu_is_an_error_that_names_the_way_out():
    with pytest.raises(
        EngineUnavailable, match=r"int8 works on the CPU only.*engine\.precision: auto"
    ):
        choose("int8", device=CUDA)


@pytest.mark.parametrize(("has_bfloat16", "got"), [(True, "bfloat16"), (False, "float16")])
def test_auto_on_a_gpu_takes_bfloat16_where_there_is_some(monkeypatch, has_bfloat16, got):
    monkeypatch.setattr(placement, "is_bf16_available", lambda: has_bfloat16)

    assert choose("auto", device=CUDA) == (got, got)


def test_bfloat16_on_a_gpu_without_it_is_an_error(monkeypatch):
    monkeypatch.setattr(placement, "is_bf16_available", lambda: False)

    with pytest.raises(EngineUnavailable, match="no bfloat16"):
        choose("bf16", device=CUDA)


def test_mixed_precision_switched_off_means_float32():
    assert choose("bf16", enable_mixed=False) == ("float32", "float32")


@pytest.mark.parametrize("asked", ["auto", "float32"])
def test_the_standard_engine_is_float32(asked):
    assert choose(asked, engine_type="standard", device=CUDA) == ("float32", "float32")


def test_the_standard_engine_refuses_another_precision():
    with pytest.raises(EngineUnavailable, match=r"engine\.engine_type: accelerated"):
        choose("bf16", engine_type="standard")


@pytest.mark.parametrize("asked", ["cuda:31", "mps:0", "xpu"])
def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(asked):
    with pytest.raises(EngineUnavailable, match=r"this machine has cpu.*set engine\.device: auto"):
        placement.choose_device(asked)


def test_a_device_of_no_known_kind_is_an_error():
    with pytest.raises(EngineUnavailable, match="'toaster': no such kind of device"):
        placement.choose_device("toaster")


def test_the_device_of_auto_is_the_one_that_accelerate_chose(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    assert placement.choose_device("auto") == CPU
    assert PartialState().device == CPU


def test_process_facts_are_those_of_accelerates_state():
    facts = placement.read_process_facts(cpu=True, mixed_precision="bf16")

    assert facts.mixed_precision == AcceleratorState().mixed_precision == "bf16"
    assert facts.num_processes == PartialState().num_processes == 1
    assert facts.is_main_process is PartialState().is_main_process


def test_two_engines_of_different_precision_live_in_one_process():
    words = [
        placement.read_process_facts(cpu=True, mixed_precision=word).mixed_precision
        for word in ("no", "bf16", "no")
    ]

    assert words == ["no", "bf16", "no"]


def test_what_another_rank_would_see_comes_from_accelerate(monkeypatch):
    class SecondOfTwo(Accelerator):
        num_processes = 2
        is_main_process = False

    monkeypatch.setattr(placement, "Accelerator", SecondOfTwo)

    facts = placement.read_process_facts(cpu=True)

    assert (facts.num_processes, facts.is_main_process) == (2, False)


def test_launched_processes_that_do_not_know_each_other_are_refused(monkeypatch):
    class Lonely(Accelerator):
        num_processes = 1

        def __init__(self, **_):
            self.state = None

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(placement, "Accelerator", Lonely)

    with pytest.raises(EngineUnavailable, match="2 processes, but accelerate sees only one"):
        placement.read_process_facts(cpu=True)


@pytest.mark.parametrize(
    ("encoder", "decoder", "word", "text"),
    [
        ("float32", "float32", "no", "float32"),
        ("float16", "float16", "fp16", "float16"),
        ("bfloat16", "int8", "bf16", "bfloat16+int8"),
        ("int8", "int8", "no", "int8"),
    ],
)
def test_precision_is_said_in_accelerates_words(encoder, decoder, word, text):
    assert placement.mixed_precision_name(encoder, decoder) == word
    assert placement.format_precision(encoder, decoder) == text


def test_the_processor_has_a_name():
    assert placement.device_name(CPU)
