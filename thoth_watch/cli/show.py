"""Tables and progress for people. Everything here is imported only when something is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from thoth_watch.application.ports import Progress as ProgressPort
from thoth_watch.domain.states import NEEDS_A_PERSON, State

_COLOURS = {
    "DONE": "green",
    "READY": "cyan",
    "SEEN": "cyan",
    "CLAIMED": "cyan",
    "RESULT": "cyan",
    "RETRY": "yellow",
    "REFUSED": "yellow",
    "CONFLICT": "red",
    "FAILED": "red",
    "QUARANTINED": "red",
    "GONE": "dim",
}


def clock(seconds: float | None) -> str:
    """Media time as people read it: 0:07, 12:30, 1:02:03."""
    if seconds is None:
        return "-"
    total = int(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(path: object) -> str:
    """A path that is safe on a terminal: control and undecodable characters are escaped."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def near(path: object) -> str:
    """A path relative to the current folder where it lies below it."""
    try:
        return printable(Path(str(path)).relative_to(Path.cwd()))
    except ValueError:
        return printable(path)


class TerminalProgress:
    """Media time done / total of the batch at hand, and a line per finished file."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]} / {task.fields[whole]} of audio"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._done_s = self._whole_s = 0.0

    def begin(self, *, files: int, audio_s: float) -> None:
        """Show a bar for a batch of so many files and declared seconds."""
        self._done_s, self._whole_s = 0.0, audio_s
        self._bar.start()
        self._task = self._bar.add_task(
            f"transcribing {files} file{'' if files == 1 else 's'}",
            total=audio_s or None,
            done=clock(0),
            whole=clock(audio_s),
        )

    def advance(self, audio_s: float) -> None:
        """So many more seconds of audio are transcribed."""
        self._done_s += audio_s
        if self._task is not None:
            whole_s = max(self._whole_s, self._done_s)  # a header may have promised less
            self._bar.update(
                self._task,
                completed=self._done_s,
                total=whole_s or None,
                done=clock(self._done_s),
                whole=clock(whole_s),
            )

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Print what became of a file."""
        colour = _COLOURS.get(str(state), "white")
        tail = f"  {escape(printable(reason))}" if reason else ""
        self._bar.console.print(
            f"[{colour}]{state:>8}[/]  {escape(near(path))}{tail}", soft_wrap=True, highlight=False
        )

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self._bar.stop()


class LineProgress:
    """A plain line for each file that did not come out well; the log says the rest."""

    def __init__(self, *, names_files: bool) -> None:
        self._names_files = names_files

    def begin(self, *, files: int, audio_s: float) -> None:
        """Nothing: the log has a line per batch."""

    def advance(self, audio_s: float) -> None:
        """Nothing."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Name a file that did not come out well."""
        if reason and self._names_files:
            print(f"{state} {printable(path)}: {printable(reason)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Nothing."""


@contextmanager
def progress_display(*, names_files: bool = True) -> Iterator[ProgressPort]:
    """A live display on a terminal, plain lines elsewhere; without names where they are said later."""
    if not sys.stderr.isatty():
        yield LineProgress(names_files=names_files)
        return
    yield TerminalProgress(Console(stderr=True))


def print_unfinished(rows: Sequence[Mapping[str, Any]]) -> None:
    """Name every file that was left without a transcript, and why."""
    for row in rows:
        print(
            f"{row['state']} {printable(row['path'])}: {printable(row['reason'])}", file=sys.stderr
        )


def print_status(document: Mapping[str, Any]) -> None:
    """The state of everything, for people."""
    console = Console()
    for inbox in document["inboxes"]:
        console.print(
            f"[bold]{escape(printable(inbox['path']))}[/]: {inbox['audio_files']} recordings, "
            f"{inbox['refused']} refused, {inbox['ignored']} hidden or partial ignored, "
            f"{inbox['other']} other files",
            highlight=False,
        )
        if inbox["problem"]:
            console.print(f"  [red]{escape(printable(inbox['problem']))}[/]", highlight=False)
    counts = ", ".join(f"{n} {state}" for state, n in document["counts"].items() if n)
    console.print(f"ledger: {counts or 'no file seen yet'}", highlight=False)
    last = document["last_run"]
    if last:
        console.print(
            f"last run: {last['id']} {last['status']} at {last['started_at']}, {last['files_ok']} files,"
            f" {last['engine']} on {last['device']} in {last['precision']}",
            highlight=False,
        )
        if last["error"]:
            console.print(f"  [red]{escape(printable(last['error']))}[/]", highlight=False)
    if document["unfinished"]:
        print_files(document["unfinished"])
    if any(row["state"] in NEEDS_A_PERSON for row in document["unfinished"]):
        console.print("`thoth-watch retry --all` tries again what failed", style="dim")


def print_files(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per file: state, duration, path and reason."""
    if not rows:
        print("no files")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("state", "audio", "tries"):
        table.add_column(name, no_wrap=True)
    table.add_column("path", overflow="fold")
    table.add_column("reason", overflow="fold")
    for row in rows:
        state = str(row["state"])
        table.add_row(
            f"[{_COLOURS.get(state, 'white')}]{state}[/]",
            clock(row["duration_s"]),
            str(row["attempts"]),
            escape(near(row["path"])),
            escape(printable(row["reason"] or "")),
        )
    Console().print(table)


def print_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per run, newest first, eighty columns wide; what went wrong stands below its run."""
    if not rows:
        print("no runs yet")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("run", "started, UTC", "status", "engine", "computed on"):
        table.add_column(name, no_wrap=True)
    for name in ("files", "audio", "wall s", "speed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["id"]),
            str(row["started_at"])[5:16].replace("T", " "),
            str(row["status"]),
            str(row["engine"] or row["engine_asked"]),
            f"{row['device'] or '-'} {row['precision']}",
            _files_of(row),
            clock(row["audio_s"]),
            f"{row['wall_s'] or 0:.1f}",
            f"{row['realtime_factor'] or 0:.1f}x",
        )
    console = Console()
    console.print(table)
    for row in rows:
        for note in _notes_of(row):
            console.print(
                f"run {row['id']}: {escape(printable(note))}", style="dim", highlight=False
            )


def _files_of(row: Mapping[str, Any]) -> str:
    failed = row["files_failed"] or 0
    return f"{row['files_ok'] or 0}" + (f" +{failed} bad" if failed else "")


def _notes_of(row: Mapping[str, Any]) -> Iterator[str]:
    if row["error"]:
        yield str(row["error"])
    for fallback in row["fallbacks"] or ():
        yield f"{fallback['got']} instead of {fallback['asked']}: {fallback['why']}"
