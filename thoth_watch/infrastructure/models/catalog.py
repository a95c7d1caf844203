"""The known Whisper models with their short names, and which of them suits a machine."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A Whisper model on the Hugging Face Hub."""

    name: str
    hub_id: str
    download_mb: int  # size of the safetensors files
    memory_gib: float  # needed to transcribe in half precision
    remark: str


# Source: model cards of openai/whisper-* on the hub; memory from openai/whisper's README.
MODELS = (
    KnownModel("tiny", "openai/whisper-tiny", 151, 1, "fastest, least accurate"),
    KnownModel("base", "openai/whisper-base", 290, 1, "fast"),
    KnownModel("small", "openai/whisper-small", 967, 2, "good on a CPU"),
    KnownModel("medium", "openai/whisper-medium", 3060, 5, "slow on a CPU"),
    KnownModel(
        "turbo", "openai/whisper-large-v3-turbo", 1620, 6, "best on a GPU; cannot translate"
    ),
    KnownModel("large-v3", "openai/whisper-large-v3", 3090, 10, "most accurate; needs a GPU"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The resources of a machine that limit the choice of a model."""

    gpu_memory_gib: float  # 0 without a GPU
    memory_gib: float
    cores: int


def recommend_model(machine: Machine) -> KnownModel:
    """Return the most accurate model that fits easily and is fast on a GPU or acceptable on a CPU."""
    by_name = {model.name: model for model in MODELS}
    if machine.gpu_memory_gib >= 8:
        return by_name["turbo"]
    if machine.gpu_memory_gib >= 3 or (machine.memory_gib >= 8 and machine.cores >= 4):
        return by_name["small"]
    return by_name["base" if machine.memory_gib >= 4 else "tiny"]


def suggest_name(model: str) -> str | None:
    """Return the known name or id closest to a misspelled one; None if none is close or it is correct."""
    names = [name for known in MODELS for name in (known.hub_id, known.name)]
    if model in (*names, "builtin"):
        return None
    matches = difflib.get_close_matches(model, names, n=1, cutoff=0.75)
    return matches[0] if matches else None
