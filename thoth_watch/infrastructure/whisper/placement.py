"""Chooses device and number formats, and reads the process facts from accelerate's state."""

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
    "int8": torch.float32,  # the layers around the int8 linears
}
PRECISIONS = {dtype: name for name, dtype in DTYPES.items() if name != "int8"}


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What accelerate says of this process."""

    device: torch.device
    num_processes: int
    is_main_process: bool
    mixed_precision: str  # no, fp16 or bf16


def read_process_facts(*, cpu: bool = False, mixed_precision: str = "no") -> ProcessFacts:
    """Ask accelerate for this process's device, rank and precision.

    accelerate keeps one state per process and refuses a second precision or device, so it is
    started afresh here, and only here; a process group that it opened is left as it is.
    Raises EngineUnavailable when a launcher started several processes that do not know each other:
    each of them would transcribe all files.
    """
    known: dict[str, Any] = PartialState._shared_state  # noqa: SLF001 - no public reset or look
    is_distributed = known.get("num_processes", 1) > 1
    AcceleratorState._reset_state(reset_partial_state=not is_distributed)  # noqa: SLF001 - see above
    world = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpu = cpu or (world > 1 and not torch.accelerator.is_available())
    state = Accelerator(mixed_precision=mixed_precision, cpu=on_cpu)
    if world > 1 and state.num_processes == 1:
        raise EngineUnavailable(
            f"the launcher started {world} processes, but accelerate sees only one; "
            "start thoth-watch once for each device instead"
        )
    return ProcessFacts(
        device=state.device,
        num_processes=state.num_processes,
        is_main_process=state.is_main_process,
        mixed_precision=state.mixed_precision,
    )


def choose_device(requested: str) -> torch.device:
    """The device to compute on; `auto` is accelerate's choice. Raises EngineUnavailable."""
    if requested == "auto":
        return with_index(read_process_facts().device)
    try:
        device = torch.device(requested)
    except RuntimeError as error:
        raise EngineUnavailable(
            f"device {requested!r}: no such kind of device; use auto, cpu, cuda, cuda:1 or mps"
        ) from error
    here = available_devices()
    if str(with_index(device)) not in here:
        raise EngineUnavailable(
            f"{requested}: no such device; this machine has {', '.join(here)}; set engine.device: auto"
        )
    return with_index(device)


def with_index(device: torch.device) -> torch.device:
    """`cuda` as `cuda:0`, of several processes on one machine as this process's own."""
    if device.type in {"cpu", "mps"}:
        return torch.device(device.type)
    if device.index is not None:
        return device
    return torch.device(device.type, int(os.environ.get("LOCAL_RANK", "0")))


def available_devices() -> list[str]:
    """Names of the devices of this machine, the CPU first."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None:
        return ["cpu"]
    if found.type == "mps":
        return ["cpu", "mps"]
    return ["cpu", *(f"{found.type}:{i}" for i in range(torch.accelerator.device_count()))]


def device_name(device: torch.device) -> str:
    """The processor's or card's own name."""
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
    """The number formats of encoder and decoder. Raises EngineUnavailable, naming the way out.

    packed: whether layers can be packed, see PackedWhisper; else there is one format, and no int8.
    """
    encoder, decoder = parse_precision(requested)
    if not enable_mixed:
        encoder = decoder = "float32"
    if engine_type == EngineType.STANDARD:
        if {encoder, decoder} <= {"auto", "float32"}:
            return "float32", "float32"
        raise EngineUnavailable(
            f"precision {requested}: the standard engine computes in float32; set engine.precision: "
            "auto, or engine.engine_type: accelerated"
        )
    if encoder == "auto":
        encoder, decoder = automatic_precision(device)
        if not packed:
            decoder = encoder
    elif not packed and (encoder != decoder or "int8" in {encoder, decoder}):
        raise EngineUnavailable(
            f"precision {requested}: without the cache there is one float format; set engine.use_cache: true"
        )
    for precision in (encoder, decoder):
        check_precision(precision, device)
    return encoder, decoder


def automatic_precision(device: torch.device) -> tuple[str, str]:
    """What `auto` means for encoder and decoder: the fastest formats that keep float32's words.

    tests/infrastructure/whisper/test_words.py holds the builtin model to it.
    """
    if device.type == "cpu":
        return "bfloat16" if has_native_bfloat16() else "float32", "int8"
    half = "bfloat16" if device.type == "cuda" and is_bf16_available() else "float16"
    return half, half


def has_native_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16; without the instructions it is slower than float32."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def is_emulated(precisions: tuple[str, str], device: torch.device) -> bool:
    """Whether one of them is computed without instructions of its own."""
    return device.type == "cpu" and "bfloat16" in precisions and not has_native_bfloat16()


def check_precision(precision: str, device: torch.device) -> None:
    """Raises EngineUnavailable where the device cannot compute in that format."""
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
            f"{device}: int8 works on the CPU only for now; set engine.precision: auto, "
            "or engine.device: cpu"
        )


def mixed_precision_name(encoder: str, decoder: str) -> str:
    """The word of accelerate for two formats: the decoder's, else the encoder's, else `no`."""
    return next((w for p in (decoder, encoder) if (w := ACCELERATE_PRECISION[p]) != "no"), "no")


def format_precision(encoder: str, decoder: str) -> str:
    """The pair as a person writes it: `float32`, or `bfloat16+int8`."""
    return encoder if encoder == decoder else f"{encoder}+{decoder}"


def read_clock(device: torch.device) -> float:
    """A monotonic clock, read after all that was sent to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.monotonic()
