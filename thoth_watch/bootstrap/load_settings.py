"""Loads the settings, and derives from them file options, inboxes, time limits and provenance."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thoth_watch import __version__
from thoth_watch.application.ports.inbox import Clock
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import ConfigError
from thoth_watch.domain.file_options import FileOptions, resolve_file_options

if TYPE_CHECKING:
    from thoth_watch.infrastructure.inbox import FolderInbox
    from thoth_watch.infrastructure.settings import Settings

DEMO_NOTICE = "the builtin model is for demonstration only: it knows 159 English words"


def build_settings(
    config: Path | None, overrides: Mapping[str, Any], *, required: bool
) -> Settings:
    """Load the settings from flags, environment, file and defaults.

    The file is `config`, else THOTH_WATCH_CONFIG, else, if `required`, ./config.yaml. Raises
    ConfigError, also if a file is required and does not exist.
    """
    from thoth_watch.infrastructure.settings import load

    path = config or (Path(name) if (name := os.environ.get("THOTH_WATCH_CONFIG")) else None)
    if path is None and required:
        path = Path("config.yaml")
        if not path.exists():
            raise ConfigError(
                "no configuration: there is no config.yaml in this folder; name one with -c FILE, or"
                " create one with `thoth-watch init`"
            )
    return load(path, overrides, os.environ)


def builtin_note(settings: Settings) -> str | None:
    """Return a note for users of the demonstration model; None for any other model."""
    if settings.engine.model != "builtin":
        return None
    origin = settings.origins.get("engine.model")
    location = origin.source if origin is not None and origin.source != "default" else "config.yaml"
    location = location.removeprefix("file ")
    return f"{DEMO_NOTICE}; for real use set engine.model ({location}), for example openai/whisper-small"


def provenance(settings: Settings) -> dict[str, Any]:
    """Return what every transcript records about the program that made it."""
    program: dict[str, Any] = {"program": "thoth-watch", "version": __version__}
    note = builtin_note(settings)
    return {**program, "note": note} if note else program


def build_inbox(settings_of_inbox: Any) -> FolderInbox:
    """Build an inbox from its settings."""
    from thoth_watch.infrastructure.inbox import FolderInbox

    return FolderInbox(
        settings_of_inbox.path,
        recursive=settings_of_inbox.recursive,
        extensions=settings_of_inbox.extensions,
        ignore=settings_of_inbox.ignore,
        sentinel=settings_of_inbox.sentinel,
    )


def file_options_resolver(settings: Settings) -> Callable[[AudioFile], FileOptions]:
    """Return a function that resolves the options of a file from the configuration's rules."""

    def resolve(file: AudioFile) -> FileOptions:
        return resolve_file_options(
            file.relative, default=settings.file_options, rules=settings.rules
        )

    return resolve


def quiet_until(settings: Settings, now: datetime) -> datetime | None:
    """Return when the current quiet hours, in the local time of this machine, end; None outside of them."""
    return settings.quiet_hours.until(now.astimezone())


def batch_limit(settings: Settings, clock: Clock) -> Callable[[float], bool]:
    """Return a function that, given a batch's running time in seconds, allows another file or not."""
    limit_s = settings.batch.max_batch_s

    def may_start_file(batch_s: float) -> bool:
        return (limit_s is None or batch_s < limit_s) and quiet_until(settings, clock.now()) is None

    return may_start_file
