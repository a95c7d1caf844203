"""Progress output: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from thoth_watch.application.ports.engine import Progress as ProgressPort
from thoth_watch.cli.tables import COLORS
from thoth_watch.cli.text import display_path, printable
from thoth_watch.cli.times import format_media_time
from thoth_watch.domain.states import State


class TerminalProgress:
    """A bar with done and total audio time of the current batch, and a line per finished file."""

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
        self._done_s = self._total_s = 0.0

    def begin(self, *, files: int, audio_s: float) -> None:
        """Show a bar for a batch with this number of files and declared seconds of audio."""
        self._done_s, self._total_s = 0.0, audio_s
        self._bar.start()
        self._task = self._bar.add_task(
            f"transcribing {files} file{'' if files == 1 else 's'}",
            total=audio_s or None,
            done=format_media_time(0),
            whole=format_media_time(audio_s),
        )

    def advance(self, audio_s: float) -> None:
        """Move the bar forward by this many seconds of transcribed audio."""
        self._done_s += audio_s
        if self._task is not None:
            whole_s = max(self._total_s, self._done_s)  # a header may declare too little
            self._bar.update(
                self._task,
                completed=self._done_s,
                total=whole_s or None,
                done=format_media_time(self._done_s),
                whole=format_media_time(whole_s),
            )

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Print the state that a file reached, and the reason."""
        color = COLORS.get(str(state), "white")
        tail = f"  {escape(printable(reason))}" if reason else ""
        self._bar.console.print(
            f"[{color}]{state:>8}[/]  {escape(display_path(path))}{tail}",
            soft_wrap=True,
            highlight=False,
        )

    def end(self) -> None:
        """Remove the bar."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self._bar.stop()


class LineProgress:
    """A plain line for each file without a transcript; the log has everything else."""

    def __init__(self, *, has_file_names: bool) -> None:
        self._has_file_names = has_file_names

    def begin(self, *, files: int, audio_s: float) -> None:
        """Do nothing: the log has a line per batch."""

    def advance(self, audio_s: float) -> None:
        """Do nothing."""

    def finished(self, path: Path, state: State, reason: str) -> None:
        """Print the state, path and reason of a file that has a reason."""
        if reason and self._has_file_names:
            print(f"{state} {printable(path)}: {printable(reason)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Do nothing."""


@contextmanager
def progress_display(*, has_file_names: bool = True) -> Iterator[ProgressPort]:
    """Yield a live display on a terminal, plain lines elsewhere.

    has_file_names: whether plain lines are printed for files; False if the command lists them at the end.
    """
    if not sys.stderr.isatty():
        yield LineProgress(has_file_names=has_file_names)
        return
    yield TerminalProgress(Console(stderr=True))


def print_unfinished(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print every file that has no transcript, with its state and reason."""
    for row in rows:
        print(
            f"{row['state']} {printable(row['path'])}: {printable(row['reason'])}", file=sys.stderr
        )
