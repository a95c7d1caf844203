"""Names and messages escaped for output on a terminal."""

from __future__ import annotations

from pathlib import Path


def printable(path: object) -> str:
    """Return text that is safe on a terminal: control and undecodable characters are escaped."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def display_path(path: object) -> str:
    """Return a printable path, relative to the current folder if it is below that folder."""
    try:
        return printable(Path(str(path)).relative_to(Path.cwd()))
    except ValueError:
        return printable(path)
