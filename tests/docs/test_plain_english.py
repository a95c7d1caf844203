"""Text that people read is plain English: the project's banned phrases occur nowhere in it.

The phrases come from an earlier idiom of this project. Other projects' users cannot search for them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from thoth_watch.cli import program

ROOT = Path(__file__).parents[2]
BANNED = (
    "of late",
    "anew",
    "cannot be had",
    "not to be had",
    "stands in",
    "nobody",
    "somebody",
    "whoever",
    "does not work now",
    "was told",
    "is told",
    "so many",
    "at least so",
    "but for",
    "gone on with",
    "by now",
    "hears no",
    "hear no",
    "is found out",
    "given back",
)
PATTERN = re.compile(rf"\b(?:{'|'.join(BANNED)})\b".replace(" ", r"\s+"), re.IGNORECASE)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "config.yaml",
        "docs/**/*.md",
        "docs/**/*.toml",
        "training/*.md",
        "systemd/**/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file()
)
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "thoth_watch").rglob("*.py"))


def banned_in(text: str) -> list[str]:
    """Return every banned phrase in the text with the words around it."""
    return [
        re.sub(r"\s+", " ", text[max(0, match.start() - 30) : match.end() + 30])
        for match in PATTERN.finditer(text)
    ]


def strings_and_comments(source: str) -> Iterator[str]:
    """Yield every string literal (docstrings, help, log messages, errors) of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def help_pages() -> Iterator[tuple[str, str]]:
    """Yield each command's name and the whole text of its --help page."""

    def below(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
        yield context.command_path, command.get_help(context)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                yield from below(child, click.Context(child, info_name=name, parent=context))

    yield from below(
        program, click.Context(program, info_name="thoth-watch", **program.context_settings)
    )


def test_the_pattern_finds_every_phrase_whatever_its_case_or_line_breaks():
    for phrase in BANNED:
        assert banned_in(f"The engine {phrase.upper()}.")
        assert banned_in(phrase.replace(" ", "\n    "))
    assert banned_in("Manew, buts for, reanewed") == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_documents_have_no_banned_phrase(path: str):
    assert banned_in((ROOT / path).read_text(encoding="utf-8")) == []


def test_help_pages_have_no_banned_phrase():
    found = {name: banned_in(text) for name, text in help_pages()}
    assert len(found) > 25
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


@pytest.mark.parametrize("path", MODULES)
def test_log_messages_errors_and_docstrings_have_no_banned_phrase(path: str):
    source = (ROOT / path).read_text(encoding="utf-8")
    found = [phrase for text in strings_and_comments(source) for phrase in banned_in(text)]
    assert found == []
