"""Tables: colored on a terminal, one plain line per row if the output is redirected."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thoth_watch.cli.text import printable

COLORS = {
    **dict.fromkeys(("DONE",), "green"),
    **dict.fromkeys(("READY", "SEEN", "CLAIMED", "RESULT", "RUNNING"), "cyan"),
    **dict.fromkeys(("RETRY", "REFUSED", "PARTIAL", "INTERRUPTED"), "yellow"),
    **dict.fromkeys(("CONFLICT", "FAILED", "QUARANTINED"), "red"),
    "GONE": "dim",
}  # of files and of runs


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    is_number: bool = False
    is_wrapped: bool = False  # long text that may take several lines on a terminal


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print rows as a table; without rows, print the text `empty`."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not cells:
        print(empty)
    elif sys.stdout.isatty():
        _print_rich(columns, cells)
    else:
        _print_plain(columns, cells)


def print_json(document: Any) -> None:
    """Print one JSON document; times in ISO 8601, UTC."""
    print(json.dumps(document, indent=2, default=_to_json))


def print_json_line(document: Any) -> None:
    """Print one JSON document in one line."""
    print(json.dumps(document, default=_to_json), flush=True)


def _to_json(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _print_rich(columns: Sequence[Column], cells: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column.name,
            justify="right" if column.is_number else "left",
            no_wrap=not column.is_wrapped,
            overflow="fold" if column.is_wrapped else "ellipsis",
        )
    for row in cells:
        table.add_row(*(_colored(cell) for cell in row))
    Console().print(table, highlight=False)


def _colored(cell: str) -> str:
    color = COLORS.get(cell)
    return f"[{color}]{cell}[/]" if color else escape(cell)


def _print_plain(columns: Sequence[Column], cells: list[list[str]]) -> None:
    """Print columns two spaces apart without truncation: for grep, awk and less."""
    header = [column.name for column in columns]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    adjust: list[Callable[..., str]] = [
        str.rjust if column.is_number else str.ljust for column in columns
    ]
    for row in (header, *cells):
        line = "  ".join(a(v, w) for a, v, w in zip(adjust, row, widths, strict=True))
        print(line.rstrip())
