"""Which Whisper models there are, what they cost, which are on this machine; and fetching one."""

from thoth_watch.infrastructure.models.catalogue import (
    MODELS,
    KnownModel,
    Machine,
    near_name,
    proposal,
)
from thoth_watch.infrastructure.models.hub import cache_folder, is_here, pull, require_hub

__all__ = [
    "MODELS",
    "KnownModel",
    "Machine",
    "cache_folder",
    "is_here",
    "near_name",
    "proposal",
    "pull",
    "require_hub",
]
