"""Merges flags, environment, file and defaults, and records the source of each value."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from thoth_watch.domain.errors import ConfigError
from thoth_watch.infrastructure.settings.document import Location, dotted_key
from thoth_watch.infrastructure.settings.schema import sections
from thoth_watch.infrastructure.settings.validators import did_you_mean

ENVIRONMENT_PREFIX = "THOTH_WATCH_"
CONFIG_VARIABLE = "THOTH_WATCH_CONFIG"  # path of the file
ACCELERATE_VARIABLES = {
    "ACCELERATE_MIXED_PRECISION": "performance.mixed_precision",
    "ACCELERATE_USE_CACHE": "engine.use_cache",
}


class Precedence(IntEnum):
    """Precedence of the sources of a value; a higher one overrides a lower one."""

    DEFAULT = 0
    FILE = 1
    ACCELERATE = 2
    ENVIRONMENT = 3
    FLAG = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """The value in effect, and its source."""

    value: Any
    source: str  # flag, environment NAME, file config.yaml:12 or default


@dataclass(frozen=True, slots=True)
class KeySource:
    """The source of a key's value."""

    precedence: Precedence
    source: str
    line: int = 0  # of the file


DEFAULT_SOURCE = KeySource(Precedence.DEFAULT, "default")


@dataclass(slots=True)
class MergedSettings:
    """The merged values of all sources, before validation."""

    tree: dict[str, Any] = field(default_factory=dict)
    key_sources: dict[Location, KeySource] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)  # line of the file, sentence

    def source_of(self, at: Location) -> KeySource:
        """Return the source of a key; items of a list have the source of the list."""
        if at[0] in sections():
            return self.key_sources.get(at, DEFAULT_SOURCE)
        return self._nearest(at)

    def add_problem(self, at: Location, text: str) -> None:
        """Record a problem at the location of the key, or of the nearest key that contains it."""
        key_source = self._nearest(at)
        location = key_source.source.removeprefix("file ")
        self.problems.append((key_source.line, f"{location}: {dotted_key(at)}: {text}"))

    def raise_problems(self) -> None:
        """Raise ConfigError if there are problems: those of the file by line, then the others."""
        if self.problems:
            by_line = sorted(self.problems, key=lambda problem: problem[0] or float("inf"))
            raise ConfigError("\n".join(text for _, text in by_line))

    def _nearest(self, at: Location) -> KeySource:
        for length in range(len(at), 0, -1):
            if at[:length] in self.key_sources:
                return self.key_sources[at[:length]]
        return DEFAULT_SOURCE

    def set_value(self, key: str, value: Any, key_source: KeySource) -> None:
        """Set one dotted key, replacing its value from a weaker source."""
        at = tuple(key.split("."))
        holder = self.tree
        for part in at[:-1]:
            below = holder.setdefault(part, {})
            if not isinstance(below, dict):
                return  # not a mapping in the file; validation reports it
            holder = below
        holder[at[-1]] = copy.deepcopy(value)
        for old in [old for old in self.key_sources if old[: len(at)] == at]:
            del self.key_sources[old]
        self.key_sources[at] = key_source


def key_types() -> dict[str, Any]:
    """Return every dotted key with its type."""
    below = {
        f"{name}.{key}": info.annotation
        for name, section in sections().items()
        for key, info in section.model_fields.items()
    }
    return {**below, "inboxes": list, "rules": list}


def environment_names() -> dict[str, str]:
    """Return the environment variable of every key: `THOTH_WATCH_ENGINE_DEVICE` for `engine.device`."""
    return {ENVIRONMENT_PREFIX + key.upper().replace(".", "_"): key for key in key_types()}


def merge_layers(
    data: dict[str, Any],
    lines: Mapping[Location, int],
    *,
    file_name: str,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str],
) -> MergedSettings:
    """Merge file, environment and flags into one tree; a flag that is None was not given."""
    merged = MergedSettings(
        tree={name: {} if value is None else value for name, value in data.items()}
    )
    for at, line in lines.items():
        merged.key_sources[at] = KeySource(Precedence.FILE, f"file {file_name}:{line}", line)
    for empty in [
        name for name, value in data.items() if value is None and name in ("inboxes", "rules")
    ]:
        del merged.tree[empty]
    _reject_inbox_and_inboxes(merged, data)
    types = key_types()
    for precedence, name, key, value in _environment_values(merged, environ):
        _set_from_text(merged, key, value, types[key], KeySource(precedence, f"environment {name}"))
    for key, value in overrides.items():
        if value is None:
            continue
        if key not in types:
            merged.problems.append((0, f"flag: {key}: unknown key{did_you_mean(key, types)}"))
            continue
        plain = list(value) if isinstance(value, tuple) else value
        _set_from_text(merged, key, plain, types[key], KeySource(Precedence.FLAG, "flag"))
    _merge_inbox_keys(merged)
    return merged


def _environment_values(
    merged: MergedSettings, environ: Mapping[str, str]
) -> Iterator[tuple[Precedence, str, str, str]]:
    """Yield the values of the environment, weakest first; empty values are ignored."""
    for name, key in ACCELERATE_VARIABLES.items():
        if environ.get(name, "").strip():
            yield Precedence.ACCELERATE, name, key, environ[name].strip()
    names = environment_names()
    for name, value in sorted(environ.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name not in names:
            hint = did_you_mean(name, [*names, CONFIG_VARIABLE])
            merged.problems.append((0, f"environment {name}: unknown variable{hint}"))
        elif value.strip():
            yield Precedence.ENVIRONMENT, name, names[name], value


def _set_from_text(
    merged: MergedSettings, key: str, value: Any, kind: Any, key_source: KeySource
) -> None:
    if isinstance(value, str):
        try:
            value = _parse_text(value, kind)
        except (yaml.YAMLError, ValueError) as error:
            what = " ".join(str(error).split())
            text = f"{key_source.source}: {key}: found {value!r}; not valid YAML: {what}"
            merged.problems.append((0, text))
            return
    merged.set_value(key, value, key_source)


def _parse_text(text: str, kind: Any) -> Any:
    """Parse a value from the environment or the command line according to the type of its key."""
    is_list = kind is list or get_origin(kind) is tuple
    kinds = () if is_list else (kind, *get_args(kind))
    if str in kinds or Path in kinds:
        return text
    stripped = text.strip()
    if bool in kinds:
        return {"1": True, "0": False}.get(stripped, yaml.safe_load(stripped))
    if int in kinds or float in kinds:
        for number in (int, float):
            try:
                return number(stripped)
            except ValueError:
                continue
        return stripped
    if stripped.startswith(("[", "{")):
        return yaml.safe_load(stripped)
    return [item.strip() for item in stripped.split(",") if item.strip()]


def _reject_inbox_and_inboxes(merged: MergedSettings, data: Mapping[str, Any]) -> None:
    if data.get("inbox") is not None and data.get("inboxes") is not None:
        merged.add_problem(("inboxes",), "inbox is also set; keep one of them")
        del merged.tree["inboxes"]


def _merge_inbox_keys(merged: MergedSettings) -> None:
    """Apply `inbox.*` from a stronger source to each of `inboxes`.

    `inbox.path` from a stronger source replaces all of them.
    """
    listed, inbox = merged.tree.get("inboxes"), merged.tree.get("inbox")
    if not isinstance(listed, list) or not isinstance(inbox, dict):
        return
    precedence = merged.source_of(("inboxes",)).precedence
    path_source = merged.source_of(("inbox", "path"))
    if "path" in inbox and path_source.precedence == precedence:
        merged.add_problem(("inbox", "path"), "inboxes is set by the same source; keep one of them")
    if "path" in inbox and path_source.precedence >= precedence:
        del merged.tree["inboxes"]
        return
    for key, value in inbox.items():
        key_source = merged.source_of(("inbox", key))
        for index, item in enumerate(listed):
            if key == "path" or not isinstance(item, dict):
                continue
            if key_source.precedence > precedence or key not in item:
                item[key] = value
                merged.key_sources[("inboxes", index, key)] = key_source
    del merged.tree["inbox"]
