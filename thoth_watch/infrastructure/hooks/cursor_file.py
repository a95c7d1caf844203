"""Remembers up to which event the hooks were told, across restarts."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from thoth_watch.domain.errors import RetryLater


class CursorFile:
    """A small file beside the ledger, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[int, datetime] | None:
        """The last transition and the end of the last run that were told; None before the first."""
        try:
            said = json.loads(self._path.read_text(encoding="ascii"))
            return int(said["transition_id"]), datetime.fromisoformat(said["run_finished_at"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise RetryLater(
                f"{self._path}: cannot be read ({error}); remove it to begin with what comes now"
            ) from error

    def write(self, transition_id: int, run_finished_at: datetime) -> None:
        """Move it on."""
        said = {"transition_id": transition_id, "run_finished_at": run_finished_at.isoformat()}
        aside = self._path.with_name(f"{self._path.name}.new")
        try:
            aside.write_text(json.dumps(said), encoding="ascii")
            aside.replace(self._path)
        except OSError as error:
            raise RetryLater(
                f"{self._path}: {error.strerror}; make room or give the right"
            ) from error
