"""The hub's models on this machine, and how another one gets there."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from thoth_watch.domain.errors import EngineUnavailable

ALLOW_PATTERNS = ("*.json", "*.safetensors", "*.txt")  # no pickles, no weights of other frameworks
IGNORE_PATTERNS = ("*flax*", "*fp32*", "*onnx*")
CONNECT_TIMEOUT_S = 5.0  # for a connection to the hub


def cache_folder() -> Path:
    """Where the hub's library keeps models: HF_HUB_CACHE, else below HF_HOME."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def is_cached(hub_id: str, *, pattern: str = "*.safetensors") -> bool:
    """Whether weights of a model, or other files of it, lie in the cache."""
    folder = cache_folder() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    return any(folder.glob(f"*/{pattern}"))


def check_hub(hub_id: str) -> None:
    """Knock at the hub once: its library would go on knocking for half a minute.

    Raises EngineUnavailable where nobody answers. Behind a proxy, or offline by HF_HUB_OFFLINE, the
    library is left to find out itself.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():
        return
    place = urlsplit(constants.ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise EngineUnavailable(
            f"model {hub_id}: is not on this machine, and the hub cannot be reached ({place.hostname}: "
            f"{error.strerror or error}); mind the network, or name a model that is here or a folder "
            "(`thoth-watch model list`)"
        ) from error


def pull(hub_id: str, *, revision: str | None) -> Path:
    """Fetch a model, or what is missing of it; the folder. Raises EngineUnavailable."""
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
            f"model {hub_id}: cannot be fetched ({reason}); is the name right, is the network there?"
        ) from error
    return Path(folder)
