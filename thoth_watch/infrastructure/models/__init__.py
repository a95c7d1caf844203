"""The known Whisper models, the hub's cache on this machine, and downloads from the hub."""

from thoth_watch.infrastructure.models.catalog import (
    MODELS,
    KnownModel,
    Machine,
    recommend_model,
    suggest_name,
)
from thoth_watch.infrastructure.models.hub import cache_folder, check_hub, is_cached, pull

__all__ = [
    "MODELS",
    "KnownModel",
    "Machine",
    "cache_folder",
    "check_hub",
    "is_cached",
    "pull",
    "recommend_model",
    "suggest_name",
]
