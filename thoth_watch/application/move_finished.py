"""Moves finished recordings to the archive, the folder configured as `inbox.after`."""

from __future__ import annotations

import logging
from pathlib import Path

from thoth_watch.application.ports.inbox import Clock
from thoth_watch.application.ports.ledger import Archive, FinishedFile
from thoth_watch.application.ports.publishing import RecordingMover
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import FileChanged, FileGone, NameTaken, RetryLater
from thoth_watch.domain.naming import candidate_archive_paths

log = logging.getLogger(__name__)

MAX_MOVES_PER_CALL = 50  # recordings per call, so that the main loop is not blocked
RETRY_DELAY_S = 300.0  # after a recording could not be moved


class MoveFinished:
    """Moves the DONE recordings of one inbox to the same place below another folder.

    A restart needs no state of this object: every recording that is DONE and still in the inbox is
    due. One that is already at its destination was moved by a process that was killed before recording it.
    """

    def __init__(
        self,
        watch: WatchInbox,
        folder: Path,
        *,
        ledger: Archive,
        mover: RecordingMover,
        clock: Clock,
    ) -> None:
        self._watch = watch
        self._folder = folder
        self._ledger = ledger
        self._mover = mover
        self._clock = clock
        self._not_before_s: dict[int, float] = {}  # file id, monotonic seconds

    def __call__(self) -> bool:
        """Move a portion of the DONE recordings; return True if more are due immediately."""
        now_s = self._clock.monotonic_s()
        due = [
            done
            for done in self._ledger.finished(self._watch.root)
            if self._not_before_s.get(done.file_id, now_s) <= now_s
        ]
        n_moved = 0
        problems: list[str] = []
        for done in due[:MAX_MOVES_PER_CALL]:
            try:
                moved = self._move(done)
            except (RetryLater, NameTaken) as error:
                self._not_before_s[done.file_id] = now_s + RETRY_DELAY_S
                problems.append(f"{done.file.path}: {error}")
                continue
            if moved is not None:
                self._record(done, moved)
                n_moved += 1
        self._log_results(n_moved, problems)
        return len(due) > MAX_MOVES_PER_CALL

    def _move(self, done: FinishedFile) -> AudioFile | None:
        """Return the moved recording; None if the file changed or is gone, which the next scan records."""
        is_absent = False
        for name in candidate_archive_paths(done.file.relative, done.sha256):
            to = self._folder / name
            if self._ledger.has_path(to):
                continue  # another recording is or was there
            try:
                signature = self._mover.move(done.file, to, below=self._folder, sha256=done.sha256)
            except NameTaken:
                continue
            except FileGone:
                is_absent = True  # it may have been moved under one of the next names
                continue
            except FileChanged:
                return None
            return AudioFile(self._folder, to, signature)
        if is_absent:
            return None
        raise NameTaken(
            f"{self._folder}: every candidate name is taken; rename or remove the files there"
        )

    def _record(self, done: FinishedFile, moved: AudioFile) -> None:
        self._ledger.record_moved(done, to=moved, now=self._clock.now())
        self._watch.forget(done.file.path)
        log.debug(
            "moved a finished recording",
            extra={"event": "file_moved", "path": str(done.file.path), "to": str(moved.path)},
        )

    def _log_results(self, n_moved: int, problems: list[str]) -> None:
        """Log one line for the moved recordings and one for the failed moves."""
        if n_moved:
            log.info(
                "moved finished recordings",
                extra={"event": "moved", "files": n_moved, "to": str(self._folder)},
            )
        if problems:
            log.warning(
                "some finished recordings could not be moved; trying again later",
                extra={"event": "move_failed", "files": len(problems), "first": problems[0]},
            )
