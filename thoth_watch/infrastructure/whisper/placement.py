"""Choose device and precision, and read process facts from accelerate's state."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import is_bf16_available

from thoth_watch.domain.engine import ACCELERATE_PRECISION, EngineType, parse_precision
from thoth_watch.domain.errors import EngineUnavailable

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.float32,  # dtype of everything except the quantized linear layers
}
PRECISIONS = {dtype: name for name, dtype in DTYPES.items() if name != "int8"}


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """This process's device, rank and precision according to accelerate."""

    device: torch.device
    num_processes: int
    is_main_process: bool
    mixed_precision: str  # no, fp16 or bf16


def read_process_facts(*, cpu: bool = False, mixed_precision: str = "no") -> ProcessFacts:
    """Return this process's device, rank and precision from accelerate.

    accelerate keeps one state per process and rejects a second precision or device, so its state is
    reset here, and only here; a process group that it opened stays open.
    Raises EngineUnavailable if a launcher started several processes that are not connected, because
    each of them would transcribe all files.
    """
    state: dict[str, Any] = PartialState._shared_state  # noqa: SLF001 - no public access or reset
    is_distributed = state.get("num_processes", 1) > 1
    AcceleratorState._reset_state(reset_partial_state=not is_distributed)  # noqa: SLF001 - see above
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpu = cpu or (world_size > 1 and not torch.accelerator.is_available())
    accelerator = Accelerator(mixed_precision=mixed_precision, cpu=on_cpu)
    if world_size > 1 and accelerator.num_processes == 1:
        raise EngineUnavailable(
            f"the launcher started {world_size} processes, but accelerate sees only one; "
            "start thoth-watch once for each device instead"
        )
    return ProcessFacts(
        device=accelerator.device,
        num_processes=accelerator.num_processes,
        is_main_process=accelerator.is_main_process,
        mixed_precision=accelerator.mixed_precision,
    )


def choose_device(requested: str) -> torch.device:
    """Return the device to compute on; `auto` is accelerate's choice. Raises EngineUnavailable."""
    if requested == "auto":
        return with_index(read_process_facts().device)
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise EngineUnavailable(
            f"device {requested!r}: no such kind of device; use auto, cpu, cuda, cuda:1 or mps"
        ) from error
    available = available_devices()
    if str(with_index(device)) not in available:
        raise EngineUnavailable(
            f"{requested}: no such device; this machine has {', '.join(available)}; "
            "set engine.device: auto"
        )
    return with_index(device)


def with_index(device: torch.device) -> torch.device:
    """Return `cuda` as `cuda:0`, or with LOCAL_RANK as index if a launcher started several processes."""
    if device.type in {"cpu", "mps"}:
        return torch.device(device.type)
    if device.index is not None:
        return device
    return torch.device(device.type, int(os.environ.get("LOCAL_RANK", "0")))


def available_devices() -> list[str]:
    """Return the names of this machine's devices, the CPU first."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None:
        return ["cpu"]
    if device.type == "mps":
        return ["cpu", "mps"]
    return ["cpu", *(f"{device.type}:{i}" for i in range(torch.accelerator.device_count()))]


def device_name(device: torch.device) -> str:
    """Return the product name of the processor or GPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "cpu":
        cpuinfo = Path("/proc/cpuinfo")
        if cpuinfo.exists():
            for line in cpuinfo.read_text(errors="replace").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or device.type


def choose_precision(
    requested: str,
    *,
    enable_mixed: bool,
    engine_type: str,
    device: torch.device,
    packed: bool = True,
) -> tuple[str, str]:
    """Return the precisions of encoder and decoder. Raises EngineUnavailable with the fix.

    packed: whether the model becomes a PackedWhisper; otherwise encoder and decoder share one
    precision, which is not int8.
    """
    encoder, decoder = parse_precision(requested)
    if not enable_mixed:
        encoder = decoder = "float32"
    if engine_type == EngineType.STANDARD:
        if {encoder, decoder} <= {"auto", "float32"}:
            return "float32", "float32"
        raise EngineUnavailable(
            f"precision {requested}: the standard engine supports only float32; set "
            "engine.precision: auto, or engine.engine_type: accelerated"
        )
    if encoder == "auto":
        encoder, decoder = automatic_precision(device)
        if not packed:
            decoder = encoder
    elif not packed and (encoder != decoder or "int8" in {encoder, decoder}):
        raise EngineUnavailable(
            f"precision {requested}: without the KV cache, encoder and decoder share one float "
            "precision; set engine.use_cache: true"
        )
    for precision in (encoder, decoder):
        check_precision(precision, device)
    return encoder, decoder


def automatic_precision(device: torch.device) -> tuple[str, str]:
    """Return the fastest precisions of encoder and decoder with the word error rate of float32.

    tests/infrastructure/whisper/test_words.py checks this with the builtin model.
    """
    if device.type == "cpu":
        return "bfloat16" if has_native_bfloat16() else "float32", "int8"
    half = "bfloat16" if device.type == "cuda" and is_bf16_available() else "float16"
    return half, half


def has_native_bfloat16() -> bool:
    """Return True if the CPU has bfloat16 instructions; without them bfloat16 is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def is_emulated(precisions: tuple[str, str], device: torch.device) -> bool:
    """Return True if one of the precisions is bfloat16 and this CPU has no instructions for it."""
    return device.type == "cpu" and "bfloat16" in precisions and not has_native_bfloat16()


def check_precision(precision: str, device: torch.device) -> None:
    """Raise EngineUnavailable if the device does not support the precision."""
    if precision == "float16" and device.type == "cpu":
        raise EngineUnavailable(
            f"{device}: float16 needs a GPU; set engine.precision: float32 (or bfloat16)"
        )
    if precision == "bfloat16" and device.type != "cpu" and not is_bf16_available():
        raise EngineUnavailable(
            f"{device}: this device has no bfloat16; set engine.precision: float16"
        )
    if precision == "int8" and device.type != "cpu":
        raise EngineUnavailable(
            f"{device}: int8 is supported only on the CPU; set engine.precision: auto, "
            "or engine.device: cpu"
        )


def mixed_precision_name(encoder: str, decoder: str) -> str:
    """Return accelerate's mixed_precision value: the decoder's, else the encoder's, else `no`."""
    return next((v for p in (decoder, encoder) if (v := ACCELERATE_PRECISION[p]) != "no"), "no")


def format_precision(encoder: str, decoder: str) -> str:
    """Return the pair as it is written in the configuration: `float32` or `bfloat16+int8`."""
    return encoder if encoder == decoder else f"{encoder}+{decoder}"


def read_clock(device: torch.device) -> float:
    """Wait for all work queued on the device; return monotonic seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.monotonic()
