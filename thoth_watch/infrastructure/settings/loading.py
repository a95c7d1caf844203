"""Validates the merged configuration and converts it to domain objects."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import ValidationError

from thoth_watch.domain.audio import AudioConfig
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions, Rule
from thoth_watch.domain.quiet_hours import QuietHours, parse_span
from thoth_watch.domain.speakers import DiarizationConfig
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.infrastructure.settings.cross_checks import (
    check_inbox_paths,
    check_transcript_names,
)
from thoth_watch.infrastructure.settings.document import Location, dotted_key, read_document
from thoth_watch.infrastructure.settings.layers import (
    CONFIG_VARIABLE,
    MergedSettings,
    Origin,
    Precedence,
    key_types,
    merge_layers,
)
from thoth_watch.infrastructure.settings.precision import resolve_precision
from thoth_watch.infrastructure.settings.scale_out import check_scale_out
from thoth_watch.infrastructure.settings.schema import (
    Document,
    InboxSettings,
    ListedInbox,
    RuleSection,
    Section,
)
from thoth_watch.infrastructure.settings.settings import Settings
from thoth_watch.infrastructure.settings.validation_errors import explain_error, mask_password
from thoth_watch.infrastructure.settings.validators import LEAVE

KEYS_WITH_AUTO = {  # None means auto
    "batch.max_files",
    "batch.max_audio_s",
    "batch.max_wait_s",
    "engine.batch_size",
}


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


_T = TypeVar("_T", bound=_Dataclass)


def load(path: Path | None, overrides: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Read, merge and validate flags, environment, file and defaults.

    path: the file; None: the one named by THOTH_WATCH_CONFIG, if any.
    overrides: dotted key to the value of a flag, as typed or already converted; None: not given.
    Raises ConfigError with all problems, one per line.
    """
    if path is None and environ.get(CONFIG_VARIABLE, "").strip():
        path = Path(environ[CONFIG_VARIABLE])
    data, lines = read_document(path) if path is not None else ({}, {})
    merged = merge_layers(data, lines, file_name=str(path), overrides=overrides, environ=environ)
    try:
        document = Document.model_validate(merged.tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            merged.add_problem(detail["loc"], explain_error(detail))
        document = Document()
    merged.raise_problems()
    return _SettingsBuilder(document, merged, path).settings()


class _SettingsBuilder:
    """Converts a valid document into settings."""

    def __init__(self, document: Document, merged: MergedSettings, path: Path | None) -> None:
        self._document = document
        self._merged = merged
        self._file = None if path is None else Path(os.path.abspath(path))  # keeps symlinks
        self._values: dict[Location, Any] = {}

    def settings(self) -> Settings:
        document = self._document
        inboxes = self._inboxes()
        engine = self._engine()
        file_options = _build(
            FileOptions,
            document.transcript,
            language=engine.language,
            task=engine.task,
            model=engine.model,
            output_dir=self._output_dir(
                document.transcript.output_dir, ("transcript", "output_dir")
            ),
            channels=document.audio.channels,
            vad=document.engine.vad,
            diarize=document.diarize.enabled,
        )
        diarization = self._diarization()
        rules = tuple(self._rule(index, rule) for index, rule in enumerate(document.rules))
        ledger_url = self._ledger_url()
        extensions = {extension for inbox in inboxes for extension in inbox.extensions}
        check_transcript_names(document, self._merged, extensions=extensions)
        check_inbox_paths(
            self._merged,
            at=("inbox",) if document.inboxes is None else ("inboxes",),
            inbox_paths=[(inbox.path, inbox.recursive, inbox.after) for inbox in inboxes],
        )
        check_scale_out(document, self._merged)
        for at, url in (
            (("dispatch", "broker"), document.dispatch.broker),
            (("cache", "url"), document.cache.url),
        ):
            self._values[at] = None if url is None else mask_password(url)
        if document.hooks.secret is not None:
            self._values[("hooks", "secret")] = "***"
        self._merged.raise_problems()
        return Settings(
            inboxes=inboxes,
            audio=_build(AudioConfig, document.audio),
            batch=_build(BatchPolicy, document.batch),
            quiet_hours=QuietHours(tuple(map(parse_span, document.batch.quiet_hours))),
            engine=engine,
            devices=document.engine.devices,
            idle_unload_s=document.engine.idle_unload_s,
            file_options=file_options,
            rules=rules,
            diarization=diarization,
            subtitles=_build(SubtitleLayout, document.transcript),
            ledger_url=ledger_url,
            dispatch=document.dispatch,
            cache=document.cache,
            log_level=document.log.level,
            log_format=document.log.format,
            hooks=document.hooks,
            origins=self._origins(),
            file=self._file,
        )

    def _inboxes(self) -> tuple[InboxSettings, ...]:
        listed = self._document.inboxes
        if listed is None:
            return (self._inbox(self._document.inbox, ("inbox",)),)
        if not listed:
            self._merged.add_problem(("inboxes",), "found an empty list; name at least one folder")
        return tuple(self._inbox(inbox, ("inboxes", index)) for index, inbox in enumerate(listed))

    def _inbox(self, inbox: InboxSettings, at: Location) -> InboxSettings:
        path = self._path(inbox.path, (*at, "path"))
        after = None if inbox.after is None else self._path(inbox.after, (*at, "after"))
        self._values[(*at, "path")] = str(path)
        self._values[(*at, "after")] = LEAVE if after is None else str(after)
        return inbox.model_copy(update={"path": path, "after": after})

    def _engine(self) -> TranscriptionEngineConfig:
        engine = self._document.engine
        device = engine.device.strip().lower()
        if not re.fullmatch(r"[a-z]+(:\d+)?", device):
            self._merged.add_problem(
                ("engine", "device"),
                f"found {engine.device!r}; allowed: auto, cpu, cuda, cuda:1, mps...",
            )
        precision = resolve_precision(self._document, self._merged)
        self._values[("engine", "precision")] = precision.precision
        self._values[("engine", "enable_mixed_precision")] = precision.is_mixed
        self._merged.key_sources[("engine", "precision")] = precision.key_source
        by_flag = self._merged.source_of(("engine", "device")).precedence is Precedence.FLAG
        return _build(
            TranscriptionEngineConfig,
            engine,
            enable_mixed_precision=precision.is_mixed,
            model=self._model(engine.model, ("engine", "model")),
            device=device,
            device_is_binding=by_flag and device != "auto",
            precision=precision.precision,
            decoding=_build(DecodingOptions, self._document.decoding),
        )

    def _diarization(self) -> DiarizationConfig:
        section = self._document.diarize
        minimum, maximum = section.min_speakers, section.max_speakers
        if minimum is not None and maximum is not None and minimum > maximum:
            at = ("diarize", "max_speakers")
            self._merged.add_problem(
                at, f"found {maximum}, which is less than min_speakers: {minimum}; raise it"
            )
        model = self._model(section.model, ("diarize", "model"))
        return _build(DiarizationConfig, section, model=model)

    def _rule(self, index: int, rule: RuleSection) -> Rule:
        at: Location = ("rules", index)
        changes: dict[str, Any] = {
            key: getattr(rule, key)
            for key in RuleSection.model_fields
            if key in rule.model_fields_set
        }
        del changes["match"]
        if not changes:
            allowed = ", ".join(key for key in RuleSection.model_fields if key != "match")
            self._merged.add_problem(at, f"changes nothing; add one of {allowed}")
        if "output_dir" in changes:
            changes["output_dir"] = self._output_dir(changes["output_dir"], at)
        if "model" in changes:
            changes["model"] = self._model(changes["model"], at)
        return Rule(match=rule.match, changes=tuple(changes.items()))

    def _ledger_url(self) -> str:
        at = ("ledger", "url")
        url = self._document.ledger.url
        scheme, _, rest = url.partition(":///")
        if scheme.startswith("sqlite") and rest:
            name, mark, query = rest.partition("?")
            file = str(self._path(name, at))
            if "?" in file:
                self._merged.add_problem(
                    at, f"{file}: a SQLite URL cannot contain a path with ?; use another folder"
                )
            url = f"{scheme}:///{file}{mark}{query}"
        self._values[at] = mask_password(url)
        return url

    def _output_dir(self, text: str, at: Location) -> str:
        is_next_to_source = text.strip() == NEXT_TO_SOURCE
        folder = NEXT_TO_SOURCE if is_next_to_source else str(self._path(text, at))
        self._values[at] = folder
        return folder

    def _model(self, text: str, at: Location) -> str:
        """Return the model's name; text that starts with . / or ~ is a folder, other text a Hugging Face id."""
        name = (
            str(self._path(text, at)) if text.startswith(("./", "../", "~", "/")) else text.strip()
        )
        self._values[at] = name
        return name

    def _path(self, text: str | Path, at: Location) -> Path:
        """Return an absolute path; paths in the file are relative to it, others to the current folder."""
        precedence = self._merged.source_of(at).precedence
        from_file = self._file is not None and precedence in (Precedence.FILE, Precedence.DEFAULT)
        base = self._file.parent if from_file and self._file else Path.cwd()
        return (
            base / Path(text).expanduser()
        ).resolve()  # folders are opened without following symlinks

    def _origins(self) -> dict[str, Origin]:
        origins: dict[str, Origin] = {}
        listed = self._document.inboxes
        for key in key_types():
            section, _, name = key.partition(".")
            if key == "inboxes" or (section == "inbox" and listed is not None):
                continue
            if key == "rules":
                value: Any = [
                    {name: _plain(getattr(rule, name)) for name in sorted(rule.model_fields_set)}
                    for rule in self._document.rules
                ]
            else:
                value = _plain(getattr(getattr(self._document, section), name))
            if key in KEYS_WITH_AUTO and value is None:
                value = "auto"
            at: Location = tuple(key.split("."))
            origins[key] = Origin(self._values.get(at, value), self._merged.source_of(at).source)
        for index, inbox in enumerate(listed or ()):
            for name in ListedInbox.model_fields:
                at = ("inboxes", index, name)
                is_set = name in inbox.model_fields_set
                source = self._merged.source_of(at).source if is_set else "default"
                value = self._values.get(at, _plain(getattr(inbox, name)))
                origins[dotted_key(at)] = Origin(value, source)
        return origins


def _build(kind: type[_T], section: Section, **others: Any) -> _T:
    """Build a domain object from the section's keys that are named like its fields, and from the others."""
    keys = {field.name for field in fields(kind)} & type(section).model_fields.keys()
    return kind(**{**{key: getattr(section, key) for key in keys}, **others})


def _plain(value: Any) -> Any:
    """Return a value as it is written in YAML, where every sequence is a list."""
    return list(value) if isinstance(value, tuple) else value
