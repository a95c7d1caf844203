"""The hub's models on this machine, and how another one gets there."""

from __future__ import annotations

from pathlib import Path

from thoth_watch.domain.errors import EngineUnavailable

WANTED = ("*.json", "*.safetensors", "*.txt")  # no pickles, no weights of other frameworks
UNWANTED = ("*flax*", "*fp32*", "*onnx*")


def cache_folder() -> Path:
    """Where the hub's library keeps models: HF_HUB_CACHE, else below HF_HOME."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def is_here(hub_id: str) -> bool:
    """Whether weights of a model lie in the cache."""
    folder = cache_folder() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    return any(folder.glob("*/*.safetensors"))


def pull(hub_id: str, *, revision: str | None) -> Path:
    """Fetch a model, or what is missing of it; the folder. Raises EngineUnavailable."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
        )
    except (OSError, ValueError) as error:
        reason = f"{error.__cause__ or error}".strip().splitlines()[0].rstrip(".")
        raise EngineUnavailable(
            f"model {hub_id}: cannot be fetched ({reason}); is the name right, is the network there?"
        ) from error
    return Path(folder)
