"""Reads a YAML mapping together with the line number of every key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from thoth_watch.domain.errors import ConfigError

Location = tuple[str | int, ...]  # keys and list indices from the root

MAX_BYTES = 1_000_000
MAX_NODES = 20_000  # a few nested aliases can expand to billions


def read_document(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """Read a configuration file's mapping, and the line (from 1) of each key and list item.

    Raises ConfigError if the file is missing, unreadable, empty, not YAML or not a mapping, or if
    it has duplicate keys.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: {reason}; name a readable file with --config FILE") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{path}: larger than {MAX_BYTES} bytes; this is not a configuration file"
        )
    try:
        return _parse(content, path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = ", ".join(part for part in (error.context, error.problem) if part)
        hint = "; put text that contains { or } or : or starts with * in quotes"
        raise ConfigError(f"{path}:{line}: not valid YAML: {what}{hint}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = (
            "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        )
        raise ConfigError(f"{path}: not valid YAML: {what}") from error


def _parse(content: bytes, path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    loader = yaml.SafeLoader(content)
    try:
        root = loader.get_single_node()
        if root is None:
            raise ConfigError(
                f"{path}: empty; write at least `inbox: {{path: FOLDER}}` "
                "(`thoth-watch init` creates a configuration)"
            )
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:1: found {_kind(root)}; allowed: a mapping of `key: value`")
        lines: dict[Location, int] = {}
        problems = list(_walk(root, (), lines, (), [0]))
        if problems:
            raise ConfigError("\n".join(f"{path}:{line}: {text}" for line, text in problems))
        return loader.construct_document(root), lines
    finally:
        loader.dispose()


def _walk(
    node: yaml.Node,
    at: Location,
    lines: dict[Location, int],
    ancestors: tuple[int, ...],
    count: list[int],
) -> Iterator[tuple[int, str]]:
    """Fill `lines`; yield (line, problem) for every duplicate key."""
    count[0] += 1
    if id(node) in ancestors or count[0] > MAX_NODES:
        raise yaml.YAMLError(
            f"aliases that contain themselves, or expand to more than {MAX_NODES} nodes"
        )
    ancestors = (*ancestors, id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            is_merge = key.tag == "tag:yaml.org,2002:merge"
            if isinstance(key, yaml.ScalarNode) and not is_merge:
                # YAML 1.1 would read the keys on, no and 1 as booleans and numbers
                key.tag = "tag:yaml.org,2002:str"
            if name in first:
                yield (
                    line,
                    f"{dotted_key((*at, name))}: duplicate key (first in line {first[name]}); keep one",
                )
            first.setdefault(name, line)
            if is_merge:  # the merged keys belong to this mapping
                yield from _walk(value, at, lines, ancestors, count)
                continue
            lines[(*at, name)] = line
            yield from _walk(value, (*at, name), lines, ancestors, count)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*at, index)] = item.start_mark.line + 1
            yield from _walk(item, (*at, index), lines, ancestors, count)


def dotted_key(at: Location) -> str:
    """Format a location as users write it: `rules[0].match`."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else f"the single value {node.value!r}"
