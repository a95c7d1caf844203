"""Validated settings, as domain objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.audio import AudioConfig
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.file_options import FileOptions, Rule
from thoth_watch.domain.quiet_hours import QuietHours
from thoth_watch.domain.speakers import DiarizationConfig
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.infrastructure.settings.layers import Origin
from thoth_watch.infrastructure.settings.schema import (
    CacheSettings,
    DispatchSettings,
    HookSettings,
    InboxSettings,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated configuration, with absolute paths."""

    inboxes: tuple[InboxSettings, ...]
    audio: AudioConfig
    batch: BatchPolicy
    quiet_hours: QuietHours
    engine: TranscriptionEngineConfig
    devices: tuple[str, ...] | None  # one engine process on each; None: one engine
    idle_unload_s: float | None  # seconds without work before the engine is unloaded; None: never
    file_options: FileOptions  # defaults, for recordings that no rule matches
    rules: tuple[Rule, ...]
    diarization: DiarizationConfig
    subtitles: SubtitleLayout
    ledger_url: str  # SQLAlchemy's form; a SQLite file is absolute
    dispatch: DispatchSettings
    cache: CacheSettings
    log_level: str  # debug, info, warning or error
    log_format: str  # text or json
    hooks: HookSettings
    origins: Mapping[str, Origin]  # dotted key, in the file's order; passwords are masked
    file: Path | None  # absolute; None: no file was read
