"""The Whisper models that people know by a short name, and which of them suits a machine."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the hub. Sizes: of the safetensors there; memory: in half precision, while working."""

    name: str
    hub_id: str
    download_mb: int
    memory_gib: float
    remark: str


# Source: model cards of openai/whisper-* on the hub; memory from openai/whisper's README.
MODELS = (
    KnownModel("tiny", "openai/whisper-tiny", 151, 1, "quick, rough"),
    KnownModel("base", "openai/whisper-base", 290, 1, "quick"),
    KnownModel("small", "openai/whisper-small", 967, 2, "good on a CPU"),
    KnownModel("medium", "openai/whisper-medium", 3060, 5, "slow on a CPU"),
    KnownModel(
        "turbo", "openai/whisper-large-v3-turbo", 1620, 6, "best on a GPU; cannot translate"
    ),
    KnownModel("large-v3", "openai/whisper-large-v3", 3090, 10, "most exact; wants a GPU"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which model is proposed."""

    gpu_memory_gib: float  # 0 without a GPU
    memory_gib: float
    cores: int


def recommend_model(machine: Machine) -> KnownModel:
    """The most exact model that works with room to spare: fast on a GPU, bearable on a CPU."""
    by_name = {model.name: model for model in MODELS}
    if machine.gpu_memory_gib >= 8:
        return by_name["turbo"]
    if machine.gpu_memory_gib >= 3 or (machine.memory_gib >= 8 and machine.cores >= 4):
        return by_name["small"]
    return by_name["base" if machine.memory_gib >= 4 else "tiny"]


def suggest_name(model: str) -> str | None:
    """The known model whose name is nearest to a misspelt one; None where none is near."""
    names = [name for known in MODELS for name in (known.hub_id, known.name)]
    if model in (*names, "builtin"):
        return None
    near = difflib.get_close_matches(model, names, n=1, cutoff=0.75)
    return near[0] if near else None
