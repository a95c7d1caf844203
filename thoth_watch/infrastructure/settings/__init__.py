"""Loads the configuration from file, environment and flags into frozen settings, or raises one ConfigError."""

from thoth_watch.infrastructure.settings.layers import Origin, environment_names
from thoth_watch.infrastructure.settings.loading import load
from thoth_watch.infrastructure.settings.settings import HookSettings, InboxSettings, Settings

__all__ = ["HookSettings", "InboxSettings", "Origin", "Settings", "environment_names", "load"]
