"""A fixture that runs the command line in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from thoth_watch.cli import main


class CommandResult(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Return a function that runs the command line in this process, in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THOTH_WATCH_CONFIG", raising=False)

    def run(*arguments: str, **environment: str) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["thoth-watch", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as exit_request:
            main()
        out, err = capsys.readouterr()
        return CommandResult(int(exit_request.value.code or 0), out, err)

    return run
