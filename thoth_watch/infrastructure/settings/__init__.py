"""Loads the configuration from file, environment and flags into frozen settings, or raises one ConfigError."""

from thoth_watch.infrastructure.settings.layers import Origin, environment_names
from thoth_watch.infrastructure.settings.loading import load
from thoth_watch.infrastructure.settings.schema import HookSettings, InboxSettings
from thoth_watch.infrastructure.settings.settings import Settings

__all__ = ["HookSettings", "InboxSettings", "Origin", "Settings", "environment_names", "load"]
