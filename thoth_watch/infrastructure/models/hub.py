"""The Hugging Face Hub: its model cache on this machine, and downloads."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from thoth_watch.domain.errors import EngineUnavailable

ALLOW_PATTERNS = ("*.json", "*.safetensors", "*.txt")  # no pickled weights
IGNORE_PATTERNS = ("*flax*", "*fp32*", "*onnx*")  # weights of other frameworks or precisions
CONNECT_TIMEOUT_S = 5.0


def cache_folder() -> Path:
    """Return the folder in which huggingface_hub caches models: HF_HUB_CACHE, else below HF_HOME."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def is_cached(hub_id: str, *, pattern: str = "*.safetensors") -> bool:
    """Return True if the cache contains a file of the model that matches the pattern."""
    folder = cache_folder() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    return any(folder.glob(f"*/{pattern}"))


def check_hub(hub_id: str) -> None:
    """Probe the hub once; huggingface_hub would retry for 30 s.

    Raises EngineUnavailable if the hub is unreachable. Does nothing behind a proxy or with
    HF_HUB_OFFLINE: huggingface_hub handles these cases.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():
        return
    url = urlsplit(constants.ENDPOINT)
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        socket.create_connection((url.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise EngineUnavailable(
            f"model {hub_id}: is not on this machine, and the hub is unreachable ({url.hostname}: "
            f"{error.strerror or error}); check the network connection, or use a local folder or a "
            "model that is already on this machine (`thoth-watch model list`)"
        ) from error


def pull(hub_id: str, *, revision: str | None) -> Path:
    """Download the missing files of a model; return its folder. Raises EngineUnavailable."""
    from huggingface_hub import snapshot_download

    check_hub(hub_id)
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(ALLOW_PATTERNS),
            ignore_patterns=list(IGNORE_PATTERNS),
        )
    except (OSError, ValueError) as error:
        reason = f"{error.__cause__ or error}".strip().splitlines()[0].rstrip(".")
        raise EngineUnavailable(
            f"model {hub_id}: cannot be downloaded ({reason}); check the name and the network connection"
        ) from error
    return Path(folder)
