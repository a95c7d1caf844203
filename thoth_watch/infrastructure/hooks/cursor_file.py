"""Store the position of the last delivered event across restarts."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from thoth_watch.domain.errors import RetryLater


class CursorFile:
    """A small file next to the ledger, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[int, datetime] | None:
        """Return the last delivered transition ID and run end; None before the first.

        Raises RetryLater if the file cannot be read.
        """
        try:
            document = json.loads(self._path.read_text(encoding="ascii"))
            return int(document["transition_id"]), datetime.fromisoformat(
                document["run_finished_at"]
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise RetryLater(
                f"{self._path}: cannot be read ({error}); delete it to start with new events"
            ) from error

    def write(self, transition_id: int, run_finished_at: datetime) -> None:
        """Store a new position. Raises RetryLater if the file cannot be written."""
        document = {"transition_id": transition_id, "run_finished_at": run_finished_at.isoformat()}
        temp = self._path.with_name(f"{self._path.name}.new")
        try:
            temp.write_text(json.dumps(document), encoding="ascii")
            temp.replace(self._path)
        except OSError as error:
            raise RetryLater(
                f"{self._path}: cannot be written ({error.strerror});"
                " free some space or make the folder writable"
            ) from error
