"""Flags over environment over file over defaults, and where each value was said."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, get_args, get_origin

import yaml

from thoth_watch.domain.errors import ConfigError
from thoth_watch.infrastructure.settings.document import Location, dotted
from thoth_watch.infrastructure.settings.schema import sections
from thoth_watch.infrastructure.settings.values import did_you_mean

PREFIX = "THOTH_WATCH_"
CONFIG_NAME = "THOTH_WATCH_CONFIG"  # names the file
ACCELERATE_NAMES = {
    "ACCELERATE_MIXED_PRECISION": "performance.mixed_precision",
    "ACCELERATE_USE_CACHE": "engine.use_cache",
}


class Rank(IntEnum):
    """Who wins; higher over lower."""

    DEFAULT = 0
    FILE = 1
    ACCELERATE = 2
    ENVIRONMENT = 3
    FLAG = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """A value as it holds, and where it was said."""

    value: Any
    source: str  # flag, environment NAME, file config.yaml:12 or default


@dataclass(frozen=True, slots=True)
class Said:
    """Where a key was said."""

    rank: Rank
    source: str
    line: int = 0  # of the file


DEFAULT = Said(Rank.DEFAULT, "default")


@dataclass(slots=True)
class Request:
    """Everything that was said, laid over each other, before it is checked."""

    tree: dict[str, Any] = field(default_factory=dict)
    said: dict[Location, Said] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)  # line of the file, sentence

    def said_at(self, at: Location) -> Said:
        """Where a key was said; what is inside a list was said where the list was."""
        if at[0] in sections():
            return self.said.get(at, DEFAULT)
        return self._nearest(at)

    def refuse(self, at: Location, text: str) -> None:
        """Note a problem where a person should look: the key, or the nearest that holds it."""
        said = self._nearest(at)
        where = said.source.removeprefix("file ")
        self.problems.append((said.line, f"{where}: {dotted(at)}: {text}"))

    def stop_if_refused(self) -> None:
        """Raise ConfigError if there is any problem: what the file says by line, then the rest."""
        if self.problems:
            by_line = sorted(self.problems, key=lambda problem: problem[0] or float("inf"))
            raise ConfigError("\n".join(text for _, text in by_line))

    def _nearest(self, at: Location) -> Said:
        for length in range(len(at), 0, -1):
            if at[:length] in self.said:
                return self.said[at[:length]]
        return DEFAULT

    def put(self, key: str, value: Any, said: Said) -> None:
        """Lay one dotted key over what is there."""
        at = tuple(key.split("."))
        holder = self.tree
        for part in at[:-1]:
            below = holder.setdefault(part, {})
            if not isinstance(below, dict):
                return  # the file says nonsense here; that is reported when it is checked
            holder = below
        holder[at[-1]] = copy.deepcopy(value)
        for old in [old for old in self.said if old[: len(at)] == at]:
            del self.said[old]
        self.said[at] = said


def keys() -> dict[str, Any]:
    """Every dotted key with its type."""
    below = {
        f"{name}.{key}": info.annotation
        for name, section in sections().items()
        for key, info in section.model_fields.items()
    }
    return {**below, "inboxes": list, "rules": list}


def environment_names() -> dict[str, str]:
    """The environment's name of every key: `THOTH_WATCH_ENGINE_DEVICE` for `engine.device`."""
    return {PREFIX + key.upper().replace(".", "_"): key for key in keys()}


def lay_over(
    data: dict[str, Any],
    lines: Mapping[Location, int],
    *,
    file_name: str,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str],
) -> Request:
    """File, environment and flags as one tree; a flag that is None was not given."""
    request = Request(tree={name: {} if value is None else value for name, value in data.items()})
    for at, line in lines.items():
        request.said[at] = Said(Rank.FILE, f"file {file_name}:{line}", line)
    for empty in [
        name for name, value in data.items() if value is None and name in ("inboxes", "rules")
    ]:
        del request.tree[empty]
    _both_inboxes_in_the_file(request, data)
    types = keys()
    for rank, name, key, value in _environment(request, environ):
        _put(request, key, value, types[key], Said(rank, f"environment {name}"))
    for key, value in overrides.items():
        if value is None:
            continue
        if key not in types:
            request.problems.append((0, f"flag: {key}: unknown key{did_you_mean(key, types)}"))
            continue
        plain = list(value) if isinstance(value, tuple) else value
        _put(request, key, plain, types[key], Said(Rank.FLAG, "flag"))
    _share_inbox_keys(request)
    return request


def _environment(
    request: Request, environ: Mapping[str, str]
) -> Iterator[tuple[Rank, str, str, str]]:
    """What the environment says, weakest first; an empty value says nothing."""
    for name, key in ACCELERATE_NAMES.items():
        if environ.get(name, "").strip():
            yield Rank.ACCELERATE, name, key, environ[name].strip()
    names = environment_names()
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name == CONFIG_NAME:
            continue
        if name not in names:
            hint = did_you_mean(name, [*names, CONFIG_NAME])
            request.problems.append((0, f"environment {name}: unknown name{hint}"))
        elif value.strip():
            yield Rank.ENVIRONMENT, name, names[name], value


def _put(request: Request, key: str, value: Any, kind: Any, said: Said) -> None:
    if isinstance(value, str):
        try:
            value = _from_text(value, kind)
        except (yaml.YAMLError, ValueError) as error:
            what = " ".join(str(error).split())
            text = f"{said.source}: {key}: found {value!r}; not valid YAML: {what}"
            request.problems.append((0, text))
            return
    request.put(key, value, said)


def _from_text(text: str, kind: Any) -> Any:
    """A value of the environment or the command line as its key's type reads it."""
    is_list = list in (kind, get_origin(kind))
    kinds = () if is_list else (kind, *get_args(kind))
    if str in kinds:
        return text
    word = text.strip()
    if bool in kinds:
        return {"1": True, "0": False}.get(word, yaml.safe_load(word))
    if int in kinds or float in kinds:
        for number in (int, float):
            try:
                return number(word)
            except ValueError:
                continue
        return word
    if word.startswith(("[", "{")):
        return yaml.safe_load(word)
    return [item.strip() for item in word.split(",") if item.strip()]


def _both_inboxes_in_the_file(request: Request, data: Mapping[str, Any]) -> None:
    if data.get("inbox") is not None and data.get("inboxes") is not None:
        request.refuse(("inboxes",), "inbox is given too; keep one of them")
        del request.tree["inboxes"]


def _share_inbox_keys(request: Request) -> None:
    """Lay stronger `inbox.*` over each of `inboxes`; a stronger `inbox.path` replaces them."""
    listed, inbox = request.tree.get("inboxes"), request.tree.get("inbox")
    if not isinstance(listed, list) or not isinstance(inbox, dict):
        return
    rank = request.said_at(("inboxes",)).rank
    path_said = request.said_at(("inbox", "path"))
    if "path" in inbox and path_said.rank == rank:
        request.refuse(("inbox", "path"), "inboxes is given in the same place; keep one of them")
    if "path" in inbox and path_said.rank >= rank:
        del request.tree["inboxes"]
        return
    for key, value in inbox.items():
        said = request.said_at(("inbox", key))
        for index, item in enumerate(listed):
            if key == "path" or not isinstance(item, dict):
                continue
            if said.rank > rank or key not in item:
                item[key] = value
                request.said[("inboxes", index, key)] = said
    del request.tree["inbox"]
